import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { atOnce } from '../../../../attest-server/formats/in-steps.ts';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { appraise, type NodePast, noPast } from '../../../../attest-server/policy/appraise.ts';
import { captureReferencesInSteps } from '../../../../attest-server/policy/capture.ts';
import { groupOf, type Policy } from '../../../../attest-server/policy/policy.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import { siblingLog } from '../../../../swtpm-fixtures/sibling.ts';
import { tamper } from '../../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { provenByHand } from '../../verify/made-by-hand.ts';
import { aggregateOf, byValues, madeProof, policyOf, replayedValues } from '../made-proof.ts';

const rules = policyOf('require: [identity, boot]');
const log = recordedLog('debian13-sdboot-entry');
const bootId = '11111111-8b86-d011-b42d-00cf4fc964ff';
const facts = { purpose: 'attest', node: 'n', bootId, helloDigest: '00'.repeat(32) } as const;

/** A boot with this log; `list`: its kernel's list came, and proves it. */
function booted(from: Buffer, list: boolean, aggregate?: Proven['aggregate']): Proven {
  const proven = madeProof({ log: from, ...(!list && { ima: null }) });
  return provenByHand(proven, { facts, ...(aggregate !== undefined && { aggregate }) });
}

function capturedOf(
  answers: Readonly<Record<string, Proven>>,
  {
    policy = rules,
    aggregate = true,
    memory = {},
  }: { policy?: Policy; aggregate?: boolean; memory?: NodePast['memory'] } = {},
): readonly Reference[] {
  const given = Object.entries(answers).map(([node, proven]) => ({ node, proven, memory }));
  const about = { name: 'ref', state: 'active', by: 'me', at: 0, only: null, aggregate } as const;
  return atOnce(captureReferencesInSteps('boot', given, groupOf(policy, 'n', {}), about));
}

function judged(proven: Proven, references: readonly Reference[], policy = rules, past = noPast): string {
  const { state, reasons } = appraise(proven, policy, { name: 'n', past }, references, 1).verdict;
  return [state, ...reasons.map(({ code, severity }) => `${code} ${severity}`)].join(', ');
}

const [told, demanded] = ['trusted, facts_unavailable info', 'pending, facts_unavailable fail'];
const demandsOf = (references: readonly Reference[]) => references.map(({ aggregate = null }) => aggregate);
const withoutDemand = ({ aggregate: _, ...before }: Reference): Reference => before;

describe('a proof that a captured boot gave', () => {
  const own = capturedOf({ n: booted(log, true) });

  it('is demanded of a node that never sent the list, and that is pending, never untrusted (row 340)', () => {
    assert.deepEqual(demandsOf(own), ['required']);
    assert.equal(judged(booted(log, true), own), 'trusted');
    assert.equal(judged(booted(log, false), own), demanded);
    const { reasons } = appraise(booted(log, false), rules, { name: 'n' }, own, 1).verdict;
    assert.match(reasons[0]?.text ?? '', /Reference ref demands it/);
  });

  it('is demanded where the list is there and proves too little, and the cause is the node’s own word (row 340)', () => {
    const values = replayedValues(log, 'sha256');
    for (const aggregate of ['unextended', 'unreadable', aggregateOf(values, 'sha256', 7)] as const)
      assert.equal(judged(booted(log, false, aggregate), own), demanded, aggregate);
    const cause = 'EACCES';
    const lacking = provenByHand(booted(log, false), { facts: { ...facts, unavailable: { ima: cause } } });
    assert.equal(appraise(lacking, rules, { name: 'n' }, own, 1).verdict.reasons[0]?.actual, cause);
  });

  it('is demanded by no reference of before, and by none of a boot that did not give it', () => {
    assert.equal(judged(booted(log, false), own.map(withoutDemand)), told);
    const unproven = capturedOf({ n: booted(log, false) });
    assert.deepEqual(demandsOf(unproven), [null]);
    assert.equal(judged(booted(log, false), unproven), told);
    const refused = capturedOf({ n: booted(log, false, 'unextended') });
    assert.deepEqual(demandsOf(refused), [null]);
  });

  it('is demanded beside a reference that demands nothing, whichever stands first (row 340)', () => {
    const old = { ...withoutDemand(own[0]!), name: 'old' };
    for (const references of [
      [old, ...own],
      [...own, old],
    ])
      assert.equal(judged(booted(log, false), references), demanded);
  });

  it('is known to have been given in an earlier answer of this boot, and of no other', () => {
    const shown = aggregateOf(replayedValues(log, 'sha256'), 'sha256');
    const later = booted(log, false);
    const { resetCount, restartCount } = later.clock;
    const known = { resetCount, restartCount, bootId, shown, gave: true };
    assert.deepEqual(demandsOf(capturedOf({ n: later }, { memory: { boot: known } })), ['required']);
    const another = { ...known, resetCount: resetCount + 1 };
    assert.deepEqual(demandsOf(capturedOf({ n: later }, { memory: { boot: another } })), [null]);
  });

  it('is demanded once one of the nodes that boot alike gave it, in whatever order they are named', () => {
    for (const [first, second] of [
      [true, false],
      [false, true],
    ] as const) {
      const made = capturedOf({ a: booted(log, first), b: booted(log, second) });
      assert.deepEqual(demandsOf(made), ['required']);
    }
    const other = tamper(recordedLog('debian13-shim-grub'), 'kernel');
    const both = capturedOf({
      a: booted(recordedLog('debian13-shim-grub'), true),
      b: booted(other, false),
    });
    assert.deepEqual(demandsOf(both), ['required', null]);
  });

  it('is not demanded where whoever captures says so', () => {
    assert.deepEqual(demandsOf(capturedOf({ n: booted(log, true) }, { aggregate: false })), [null]);
  });

  it('is demanded of the same kernel with the same line alone, whatever else the boot has', () => {
    const grub = recordedLog('debian13-shim-grub');
    const made = capturedOf({ n: booted(grub, true) });
    const sibling = siblingLog(grub, { initrd: true });
    assert.match(
      judged(booted(sibling, false), made),
      /^untrusted, initrd_unknown fail.*facts_unavailable fail/,
    );
    for (const changed of ['debian13-shim-grub-cmdline', 'debian13-shim-grub-kernel'] as const) {
      const boot = booted(recordedLog(changed), false);
      const known = [...made, ...capturedOf({ n: boot }).map((one) => ({ ...one, name: 'other' }))];
      assert.equal(judged(boot, known), told, changed);
    }
  });

  it('is demanded of a kernel of one such reference with the line of another (row 340)', () => {
    const [kernel, line] = ['debian13-shim-grub-kernel', 'debian13-shim-grub-cmdline'].map((name) =>
      capturedOf({ n: booted(recordedLog(name), true) }).map((one) => ({ ...one, name })),
    );
    const mixed = [...(kernel ?? []), ...(line ?? [])];
    const grub = booted(recordedLog('debian13-shim-grub'), false);
    const known = capturedOf({ n: grub });
    // Its kernel is that of the one with another line, its line that of the one with another kernel.
    assert.equal(judged(grub, [...mixed, ...known]), demanded);
    assert.equal(judged(grub, [...(kernel ?? []), ...known]), told);
  });

  it('is demanded by a reference of values that a person wrote so', () => {
    const grub = recordedLog('debian13-shim-grub');
    const [made] = capturedOf({ n: booted(grub, true) });
    const written = { ...byValues(made!, grub), events: [] };
    const lenient = policyOf('require: [identity, boot]', 'boot: {withoutLog: pcrs}');
    assert.equal(judged(booted(grub, false), [written], lenient), demanded);
    assert.equal(judged(booted(grub, false), [withoutDemand(written)], lenient), told);
  });

  it('is demanded no more once the reference has expired or is out of force', () => {
    const old = own.map((one) => ({ ...withoutDemand(one), name: 'old' }));
    for (const gone of [{ expires: '1970-01-01T00:00:00.000Z' }, { state: 'retired' }] as const)
      assert.equal(judged(booted(log, false), [...own.map((one) => ({ ...one, ...gone })), ...old]), told);
  });

  it('is demanded of a boot that was announced, which is pending then as if that were approved (row 340)', () => {
    const announced = {
      nodes: null,
      by: 'me',
      at: '1970-01-01T00:00:00.000Z',
      until: '1970-01-02T00:00:00.000Z',
      reason: 'update',
    };
    const staged = own.map((one): Reference => ({ ...one, state: 'staged', announced }));
    const before = capturedOf({ n: booted(recordedLog('debian13-shim-grub'), true) });
    const active = before.map((one) => ({ ...one, name: 'before' }));
    assert.equal(judged(booted(log, true), [...staged, ...active]), 'trusted, change_expected info');
    assert.equal(
      judged(booted(log, false), [...staged, ...active]),
      'pending, facts_unavailable fail, change_expected info',
    );
    // Who still boots what is in force is pending for the proof alone.
    const old = booted(recordedLog('debian13-shim-grub'), false);
    assert.equal(judged(old, [...staged, ...active]), demanded);
  });

  it('leaves an announced change of another stage pending, not untrusted', () => {
    const grub = recordedLog('debian13-shim-grub');
    const made = capturedOf({ n: booted(grub, true) });
    const announced = {
      nodes: null,
      by: 'me',
      at: '1970-01-01T00:00:00.000Z',
      until: '1970-01-02T00:00:00.000Z',
      reason: 'update',
    };
    const any: Reference = {
      ...withoutDemand(made[0]!),
      name: 'any',
      state: 'staged',
      components: [],
      events: [],
      announced,
    };
    const judgedSo = judged(booted(siblingLog(grub, { initrd: true }), false), [...made, any]);
    assert.match(judgedSo, /^pending, change_expected fail, facts_unavailable fail/);
  });
});
