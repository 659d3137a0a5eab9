import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run, ToolError } from 'node-tpm2/run';
import { programs } from '../../../programs.ts';
import { failing, judged, referenceOf } from './made-firewall.ts';
import { openWiredNode } from './wired-node.ts';

describe('owners that a policy names', function () {
  this.timeout(60_000);

  let folder = '';
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-owners-'));
  });
  after(() => rm(folder, { recursive: true }));

  /** How `policy check` ends. */
  async function checked(owner: string): Promise<number | null> {
    const file = join(folder, 'policy.yaml');
    await writeFile(
      file,
      `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - name: all\n    nodes: ["*"]\n    mode: enforce\n    require: [identity, boot, firewall]\n    firewall:\n      owners: [${owner}]\n`,
    );
    const options = { timeoutMs: 30_000, maxOutputBytes: 1 << 20 };
    try {
      await run(process.execPath, [programs.assay, 'policy', 'check', file], options);
      return 0;
    } catch (error) {
      if (error instanceof ToolError) return error.exitCode;
      throw error;
    }
  }

  it('are taken by policy check in forms, and refused where they take what others write (row 338)', async () => {
    const owner = (chain: string, rule: string) =>
      `{name: mine, source: me, chains: ["${chain}"], rules: ["${rule}"]}`;
    assert.equal(await checked(owner('ip filter BLOCK-<word>', '-s <address> -j DROP')), 0);
    for (const [chain, rule] of [
      ['ip filter INPUT', '-s <address> -j DROP'],
      ['ip filter <word>', '-s <address> -j DROP'],
      ['ip filter BLOCK-<word>', '<matches> -j <word>'],
    ] as const)
      assert.notEqual(await checked(owner(chain, rule)), 0, `${chain} ${rule}`);
  });

  it('take no chain with a hook, whatever its name (row 338)', async () => {
    await using node = await openWiredNode([22]);
    const chain = (policy: string) =>
      `nft add table inet site; nft add chain inet site block-a '{ type filter hook input priority 0; policy ${policy}; }'`;
    await node.sh(chain('drop'));
    const reference = referenceOf(await node.read());
    assert.equal(await node.isReached(22), false);
    await node.sh(chain('accept'));
    const lines = [
      'owners: [{name: mine, source: me, chains: ["inet site block-<word>"], rules: ["ip saddr <address> drop"]}]',
    ];
    assert.deepEqual(failing(judged(await node.read(), [reference], lines)), ['fw_drift', 'fw_policy_open']);
    assert.equal(await node.isReached(22), true);
  });
});
