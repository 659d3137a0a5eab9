import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { FolderError, firewallPartOfFolder } from '../../../recorded/firewall-folder.ts';
import { judged, recordedNode, referenceOf } from './made-firewall.ts';

/** Folder, the folder that is its baseline, codes. */
const rows: readonly (readonly [string, string, readonly string[]])[] = [
  ['fw-01-worker-iptables-nft', 'fw-01-worker-iptables-nft', []],
  ['fw-02-worker-ssh-open', 'fw-01-worker-iptables-nft', ['fw_drift', 'fw_policy_open']],
  ['fw-00-empty', 'fw-01-worker-iptables-nft', ['fw_drift', 'fw_missing_chain', 'fw_policy_open']],
  ['fw-04-worker-legacy', 'fw-01-worker-iptables-nft', ['dual_tables', 'fw_drift', 'fw_missing_chain']],
  ['fw-04-worker-legacy', 'fw-04-worker-legacy', []],
  ['fw-05-worker-nft', 'fw-05-worker-nft', []],
  ['fw-00-empty', 'fw-05-worker-nft', ['fw_drift', 'fw_missing_chain', 'fw_policy_open']],
];

describe('recorded firewalls beside a captured baseline', () => {
  for (const [folder, baseline, codes] of rows)
    it(`judges ${folder} as ${codes.join(', ') || 'right'} beside ${baseline} (rows 60 and 61)`, async () => {
      const reference = referenceOf(await firewallPartOfFolder(recordedNode(baseline)));
      const verdict = judged(await firewallPartOfFolder(recordedNode(folder)), [reference]);
      assert.deepEqual(
        verdict.reasons
          .filter(({ severity }) => severity === 'fail')
          .map(({ code }) => code)
          .sort(),
        codes,
      );
      assert.equal(verdict.state, codes.length === 0 ? 'trusted' : 'untrusted');
    });

  it('names the rule that was put first in the difference (row 61)', async () => {
    const reference = referenceOf(await firewallPartOfFolder(recordedNode('fw-01-worker-iptables-nft')));
    const { reasons } = judged(await firewallPartOfFolder(recordedNode('fw-02-worker-ssh-open')), [
      reference,
    ]);
    const drift = reasons.find(({ code }) => code === 'fw_drift');
    assert.deepEqual(drift?.detail, [
      '@@ iptables ip filter INPUT @@',
      '+ -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT',
      '  -A INPUT -i lo -j ACCEPT',
    ]);
    assert.equal(drift.actual, '1 added');
  });
});

describe('a folder in which a program failed', () => {
  let folder = '';
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-fw-'));
    for (const name of [
      'nft.json',
      'iptables-save.txt',
      'ip6tables-save.txt',
      'iptables-legacy-save.txt',
      'ip6tables-legacy-save.txt',
    ])
      await writeFile(join(folder, name), await readFile(join(recordedNode('fw-00-empty'), name)));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  for (const [name, text] of [
    [
      'iptables-save.txt.err',
      'iptables-save v1.8.11 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)\n',
    ],
    ['iptables-save.txt', "Fatal: can't open lock file /run/xtables.lock: Permission denied\n"],
    ['nft.json', ''],
    [
      'iptables-save.txt.err',
      '# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n',
    ],
    [
      'ip6tables-save.txt',
      '# Warning: ip6tables-legacy tables present, use ip6tables-legacy-save to see them\n',
    ],
  ] as const)
    it(`is no folder without rules: ${name} with ${text.slice(0, 40) || 'nothing'}`, async () => {
      const path = join(folder, name);
      const old = await readFile(path).catch(() => Buffer.alloc(0));
      await writeFile(path, text);
      await assert.rejects(firewallPartOfFolder(folder), FolderError);
      await writeFile(path, old);
    });

  it('is one without rules where none of them failed', async () => {
    const part = await firewallPartOfFolder(folder);
    assert.deepEqual(
      [part.iptables, part.legacy, part.nft?.length],
      [{ ip: null, ip6: null }, { ip: null, ip6: null }, 1],
    );
  });
});
