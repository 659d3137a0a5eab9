import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, describe, it } from 'mocha';
import { atOnce } from '../../../attest-server/formats/in-steps.ts';
import { contentFaultInSteps, type Reference, reference } from '../../../attest-server/formats/reference.ts';
import { captureReferencesInSteps } from '../../../attest-server/policy/capture.ts';
import { groupOf, type Policy } from '../../../attest-server/policy/policy.ts';
import { saysTheSame } from '../../../attest-server/policy/reference-content.ts';
import { likenessTo, sharedWithInSteps } from '../../../attest-server/policy/reference-reach.ts';
import type { Proven } from '../../../attest-server/verify/proven.ts';
import { provenFolder } from '../../recorded/judged-folder.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { madeProof, policyOf, verdictOn } from './made-proof.ts';

const nodes = join(import.meta.dirname, '../../../swtpm-fixtures/recorded-nodes');
const at = Date.parse('2026-11-25T12:00:00Z');
const about = { name: 'one', state: 'active', by: 'token:ann', at, only: null } as const;

describe('a reference of another kind than a boot', () => {
  const proofs = new Map<string, Proven>();
  const policy = policyOf('require: [firewall]');
  before(async () => {
    for (const [kind, folder] of [
      ['firewall', 'fw-00-empty'],
      ['firewall', 'fw-01-worker-iptables-nft'],
      ['firewall', 'fw-02-worker-ssh-open'],
      ['disk', '01-luks2'],
      ['disk', '02-plain-ext4'],
      ['disk', '07-luks2-cipher-null'],
      ['disk', '14-luks2-partition'],
    ] as const)
      proofs.set(folder, await provenFolder(kind, join(nodes, kind, folder)));
  });
  const proven = (folder: string) => proofs.get(folder) ?? assert.fail(folder);
  const capture = (kind: 'disk' | 'firewall', folders: readonly string[], by: Policy = policy) =>
    atOnce(
      captureReferencesInSteps(
        kind,
        folders.map((folder, index) => ({ node: `node-${index + 1}`, proven: proven(folder) })),
        groupOf(by, 'node-1', {}),
        about,
      ),
    );

  it('is made of what nodes show: one for those that show the same, and one more for each that does not', () => {
    const [worker, open] = ['fw-01-worker-iptables-nft', 'fw-02-worker-ssh-open'];
    const made = capture('firewall', [worker, worker, open, worker]);
    assert.deepEqual(
      made.map(({ name, kind, group, state, captured }) => [name, kind, group, state, captured?.node]),
      [
        ['one', 'firewall', 'workers', 'active', 'node-1'],
        ['one-2', 'firewall', 'workers', 'active', 'node-3'],
      ],
    );
    for (const each of made) {
      assert.equal(atOnce(contentFaultInSteps(each)), null);
      assert.deepEqual(reference.parse(JSON.parse(JSON.stringify(each))), JSON.parse(JSON.stringify(each)));
    }
    for (const folder of [worker, open])
      assert.equal(verdictOn(proven(folder), policy, { name: 'n' }, made, at).state, 'trusted', folder);
  });

  it('of disks is one for each node, and affirms that node alone', () => {
    const made = capture('disk', ['01-luks2', '14-luks2-partition']);
    assert.deepEqual(
      made.map(({ name, captured }) => [name, captured?.node]),
      [
        ['one', 'node-1'],
        ['one-2', 'node-2'],
      ],
    );
    const by = policyOf('require: [disk]');
    const judged = (folder: string, name: string) => verdictOn(proven(folder), by, { name }, made, at);
    assert.equal(judged('01-luks2', 'node-1').state, 'trusted');
    assert.equal(judged('14-luks2-partition', 'node-1').reasons[0]?.code, 'luks_header_changed');
  });

  it('is never made of a node that breaks the rules of its group, whatever it is captured for', () => {
    const closed = policyOf('firewall: {forbid: ["input tcp 22 from anywhere"]}');
    assert.throws(() => capture('firewall', ['fw-02-worker-ssh-open'], closed), { code: 'fw_policy_open' });
    assert.throws(() => capture('disk', ['02-plain-ext4']), /CaptureError|no LUKS volume/);
    assert.throws(() => capture('disk', ['07-luks2-cipher-null']), /CaptureError|encrypts nothing|luks_null/);
  });

  it('may be another one than the policy names so far', () => {
    const named = policyOf('firewall: {baseline: others}', 'disk: {references: [others]}');
    assert.equal(capture('firewall', ['fw-01-worker-iptables-nft'], named).length, 1);
    assert.equal(capture('disk', ['01-luks2'], named).length, 1);
  });

  it('is not made of what was not shown: that is no empty firewall', () => {
    const without = madeProof({ log: recordedLog('debian13-shim-grub') });
    for (const kind of ['disk', 'firewall', 'runtime'] as const)
      assert.throws(
        () =>
          atOnce(
            captureReferencesInSteps(kind, [{ node: 'n', proven: without }], groupOf(policy, 'n', {}), about),
          ),
        { name: 'CaptureError' },
      );
  });

  it('is told to be like the nodes that it affirms', () => {
    const [made] = capture('firewall', ['fw-01-worker-iptables-nft']);
    const subject: Reference = made ?? assert.fail();
    const isLike = likenessTo({ ...subject, state: 'revoked' }) ?? assert.fail();
    const group = groupOf(policy, 'n', {});
    assert.equal(atOnce(isLike(proven('fw-01-worker-iptables-nft'), 'n', group, at)), true);
    assert.equal(atOnce(isLike(proven('fw-02-worker-ssh-open'), 'n', group, at)), false);
    assert.equal(atOnce(isLike(proven('01-luks2'), 'n', group, at)), false);
  });

  it('shares what it says with another one only where that says all the same, and is in force', () => {
    const [made] = capture('firewall', ['fw-01-worker-iptables-nft']);
    const [open] = capture('firewall', ['fw-02-worker-ssh-open']);
    const subject: Reference = made ?? assert.fail();
    const copy: Reference = { ...subject, name: 'copy', group: 'other' };
    const reordered = Object.fromEntries(Object.entries(copy).toReversed());
    assert.ok(saysTheSame(subject, reference.parse(JSON.parse(JSON.stringify(reordered)))));
    const others: readonly Reference[] = [
      subject,
      copy,
      { ...copy, name: 'staged', state: 'staged' },
      { ...copy, name: 'expired', expires: '2026-11-25T11:00:00Z' },
      { ...(open ?? assert.fail()), name: 'open' },
    ];
    assert.deepEqual(atOnce(sharedWithInSteps(subject, others, policy, at)), [
      { name: 'copy', whole: true, stages: [] },
    ]);
  });
});
