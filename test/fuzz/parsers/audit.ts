import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { CliError } from '../../../attest-server/cli/exit.ts';
import { readAuditLog } from '../../../attest-server/cli/offline/audit/log-in-file.ts';
import { AuditLogCheck, UnreadableAuditLog } from '../../../attest-server/cli/offline/audit/verify-log.ts';
import { asFile } from '../as-file.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';

const root = join(import.meta.dirname, '../../..');

/** An audit log that somebody handed over, as `assay audit verify` reads and checks it. */
export const auditLog: FuzzedParser = {
  sources: [
    'attest-server/cli/offline/audit/log-in-file.ts',
    'attest-server/cli/offline/audit/verify-log.ts',
  ],
  form: { kind: 'text', words: ['{"entry":', '{"checkpoint":', '{"keys":', 'restore', 'rollback'] },
  most: 48 * 1024,
  seeds: () =>
    globSync('swtpm-fixtures/databases/*/assay.db.gz', { cwd: root })
      .sort()
      .flatMap((name) => {
        const lines = [...readAuditLog(asFile(gunzipSync(readFileSync(join(root, name)))))];
        const text = (some: readonly unknown[]) =>
          Buffer.from(some.map((line) => `${JSON.stringify(line)}\n`).join(''));
        return [text(lines), text(lines.slice(0, 8))];
      }),
  parse: (bytes) => {
    const check = new AuditLogCheck(null);
    for (const line of readAuditLog(asFile(bytes))) if (!check.take(line)) break;
    const result = check.end();
    if (!result.ok) throw new UnreadableAuditLog(result.fault?.text ?? '');
    return result;
  },
  isDeclared: (error) => error instanceof UnreadableAuditLog || error instanceof CliError,
  isPastHeader: (error) => error instanceof Error && !/^line 1 /.test(error.message),
};
