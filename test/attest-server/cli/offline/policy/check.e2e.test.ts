import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { programs } from '../../../../programs.ts';

const program = programs.assay;

describe('assay policy check, as a person runs it,', () => {
  it('warns of severities that leave a required aspect nothing to refuse (row 142)', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'assay-check-'));
    try {
      const file = join(dir, 'policy.yaml');
      const group = [
        '  - name: workers',
        '    nodes: ["*"]',
        '    mode: enforce',
        '    require: [identity, boot]',
        '    severity: {kernel_unknown: info, counter_rollback: warn, kexec_possible: info}',
      ];
      writeFileSync(file, ['apiVersion: assay.dev/v1', 'kind: Policy', 'groups:', ...group, ''].join('\n'));
      const { stdout } = await run(process.execPath, [program, 'policy', 'check', file, '-o', 'json'], {
        timeoutMs: 60_000,
        maxOutputBytes: 65_536,
      });
      const { valid, warnings } = JSON.parse(stdout.toString());
      assert.deepEqual(
        [valid, warnings.map(({ field }: { field: string }) => field).sort()],
        [true, ['groups.0.severity.counter_rollback', 'groups.0.severity.kernel_unknown']],
      );
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});
