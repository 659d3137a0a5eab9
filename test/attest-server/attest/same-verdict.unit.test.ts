import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { NodeStatus } from '../../../attest-server/attest/ports.ts';
import { saysTheSame } from '../../../attest-server/attest/same-verdict.ts';
import type { Reason, Verdict } from '../../../attest-server/wire/verdict.ts';
import { madeNode, madeStatus, madeVerdict } from '../store/made-records.ts';

const verdict = madeVerdict('untrusted', 'kernel_unknown', 'pcr_mismatch');
const before = madeStatus(madeNode('node-1'), verdict, 1_000);
const none = { status: 'none', source: 'tpm' } as const;
const judged = (change: Partial<Verdict>): Partial<NodeStatus> => ({ verdict: { ...verdict, ...change } });
const found = (change: Partial<Reason>) =>
  judged({
    reasons: verdict.reasons.map((reason, index) => (index === 1 ? { ...reason, ...change } : reason)),
  });

describe('a verdict and the one before', () => {
  for (const [what, change] of [
    ['time passed', { verifiedAt: 2_000, expiresAt: 3_000, clock: 7n, evidenceDigest: 'dd', repeats: 9 }],
    ['another log of user space came', { parts: { ...before.parts, userSpace: 'ee'.repeat(32) } }],
    ['a text for people differs', found({ text: 'other words', evidence: null })],
    ['it is written anew', { verdict: structuredClone(verdict) }],
  ] as const satisfies readonly (readonly [string, Partial<NodeStatus>])[])
    it(`are the same where ${what}`, () => {
      assert.equal(saysTheSame(before, { ...before, ...change }), true);
    });

  it('are the same where their aspects come in another order', () => {
    const both = { identity: none, boot: none } satisfies Verdict['aspects'];
    const other = { boot: none, identity: none } satisfies Verdict['aspects'];
    const [one, two] = [judged({ aspects: both }), judged({ aspects: other })];
    assert.equal(saysTheSame({ ...before, ...one }, { ...before, ...two }), true);
  });

  it('are the same where a node words anew why it could not read something', () => {
    const [one, two] = ['late', 'later'].map((actual) => ({
      ...before,
      ...found({ code: 'facts_unavailable', actual }),
    }));
    assert.ok(one !== undefined && two !== undefined && saysTheSame(one, two));
  });

  for (const [what, change] of [
    ['the state', { state: 'trusted' }],
    ['a code', found({ code: 'initrd_unknown' })],
    ['a severity', found({ severity: 'warn' })],
    ['what is expected', found({ expected: 'bb' })],
    ['a reference that could be approved', found({ outOfForce: 'workers-2' })],
    ['what was found', found({ actual: 'bb' })],
    ['a finding more', judged({ reasons: [...verdict.reasons, ...verdict.reasons] })],
    ['a finding less', judged({ reasons: verdict.reasons.slice(1) })],
    ['the status of an aspect', judged({ aspects: { identity: { status: 'none', source: 'tpm' } } })],
    ['the source of an aspect', judged({ aspects: { identity: { status: 'affirming', source: 'host' } } })],
    ['an aspect more', judged({ aspects: { ...verdict.aspects, boot: { status: 'none', source: 'tpm' } } })],
    ['the policy', judged({ policy: 'strict@ba9876543210' })],
    ['the group', judged({ group: 'others' })],
    ['the mode', judged({ mode: 'enforce' })],
    ['what is required', judged({ require: ['identity'] })],
    ['the boot', { resetCount: 1 }],
    ['a suspend', { restartCount: 1 }],
    ['the kernel’s boot id', { bootId: null }],
    ['the boot log', { parts: { boot: 'dd'.repeat(32) } }],
    ['that nothing was known', { verdict: null }],
  ] as const satisfies readonly (readonly [string, Partial<NodeStatus>])[])
    it(`differ by ${what}`, () => {
      assert.equal(saysTheSame({ ...before, ...change }, before), false);
      assert.equal(saysTheSame(before, { ...before, ...change }), false);
    });
});
