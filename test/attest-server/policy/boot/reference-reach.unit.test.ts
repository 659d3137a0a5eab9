import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { likeness, sharedWith } from '../../../../attest-server/policy/boot/reference-reach.ts';
import { tamper } from '../../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { byValues, capturedFrom, madeProof, policyOf } from '../made-proof.ts';

const log = recordedLog('debian13-shim-grub');
const policy = policyOf('require: [identity, boot]');
const at = Date.parse('2026-11-20T12:00:00.000Z');
const good = capturedFrom(madeProof({ log }), { name: 'good' });
const otherKernel = capturedFrom(madeProof({ log: tamper(log, 'kernel') }), { name: 'other-kernel' });
const written = (name: string, stages: readonly string[], change: Partial<Reference> = {}): Reference => ({
  ...good,
  events: [],
  components: good.components.filter(({ stage }) => stages.includes(stage)),
  name,
  ...change,
});
const values = { ...byValues(good, log), name: 'values' };

describe('what a revocation reaches beside its own reference', () => {
  const shared = (subject: Reference, ...others: readonly Reference[]) =>
    sharedWith(subject, [subject, ...others], policy, at).map(({ name, whole }) => `${name} ${whole}`);
  const copy: Reference = { ...good, name: 'copy', state: 'staged' };

  for (const [what, subject, other, expected] of [
    ['a copy', copy, good, ['good true']],
    ['a copy of another group', copy, { ...good, group: 'others' }, []],
    ['a copy that is not active', copy, { ...good, state: 'retired' }, []],
    ['a copy that expired', copy, { ...good, expires: new Date(at).toISOString() }, []],
    ['another kernel on the same loader', copy, otherKernel, ['other-kernel false']],
    ['a kernel alone, of a boot that has it', written('kernel', ['kernel']), good, ['good true']],
    ['a boot, of its kernel alone', copy, written('kernel', ['kernel']), ['kernel false']],
    ['firmware alone', copy, written('firmware', ['firmware']), []],
    ['the same PCR values', { ...values, name: 'copy' }, values, ['values true']],
    ['a boot, of PCR values alone', copy, values, []],
    ['rules of a firewall', { ...copy, kind: 'firewall' }, good, []],
  ] as const satisfies readonly (readonly [string, Reference, Reference, readonly string[]])[])
    it(`is judged by what is named: ${what}`, () => {
      assert.deepEqual(shared(subject, other), expected);
    });

  it('is named by stage where only some of it is shared', () => {
    const [one] = sharedWith(copy, [copy, otherKernel], policy, at);
    assert.deepEqual(one?.stages, ['loader', 'initrd']);
  });
});

describe('a boot that is like a reference', () => {
  const [group] = policy.groups;
  const proof = madeProof({ log });
  const isLike = (subject: Reference, proven = proof) =>
    group !== undefined && likeness(subject)(proven, group);

  it('has all that it names, in whatever state the reference is', () => {
    for (const subject of [
      good,
      { ...good, state: 'revoked' },
      values,
      written('kernel', ['kernel']),
    ] as const)
      assert.equal(isLike(subject), true, subject.name);
    for (const subject of [otherKernel, { ...good, group: 'others' }]) assert.equal(isLike(subject), false);
    assert.equal(isLike(good, madeProof({ log: tamper(log, 'kernel') })), false);
  });
});
