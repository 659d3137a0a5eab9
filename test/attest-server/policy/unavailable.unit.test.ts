import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../attest-server/formats/reference.ts';
import { nextStep } from '../../../attest-server/policy/advice.ts';
import { appraise, type NodePast, noPast } from '../../../attest-server/policy/appraise.ts';
import type { Policy } from '../../../attest-server/policy/policy.ts';
import { unavailable, unreadBy, unreadIn } from '../../../attest-server/policy/unavailable.ts';
import type { Proven } from '../../../attest-server/verify/proven.ts';
import type { Facts } from '../../../attest-server/wire/facts.ts';
import type { Verdict } from '../../../attest-server/wire/verdict.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { provenByHand } from '../verify/made-by-hand.ts';
import {
  byValues,
  capturedFrom,
  madeProof,
  policyOf,
  replayedValues,
  sentLog,
  verdictsBy,
} from './made-proof.ts';

const at = Date.parse('2026-11-25T12:00:00Z');
const log = recordedLog('debian13-shim-grub');
const good = madeProof({ log });
const reference = capturedFrom(good);
const required = policyOf('require: [identity, boot]');

function saying(proven: Proven, unavailable: Facts['unavailable'], host?: Facts['host']): Proven {
  const facts: Facts = {
    purpose: 'attest',
    node: 'one',
    bootId: '0'.repeat(36),
    helloDigest: '0'.repeat(64),
    host,
    unavailable,
  };
  return provenByHand(proven, { facts });
}

/** The values that a log leaves, without the log. */
const withoutLog = (of = log) => madeProof({ values: replayedValues(of, 'sha256') });
const late = { boot: 'not read within 5000 ms' };

function judged(
  proven: Proven,
  past: NodePast = sentLog,
  policy: Policy = required,
  references: readonly Reference[] = [reference],
): Verdict {
  return appraise(proven, policy, { name: 'one', past }, references, at).verdict;
}

const codesOf = ({ reasons }: Verdict) => reasons.map(({ code }) => code);
const summary = (verdict: Verdict) => [
  verdict.state,
  codesOf(verdict)[0],
  verdict.aspects.identity?.status,
  verdict.aspects.boot?.status,
];

describe('what a collector could not read', () => {
  it('leaves its aspect unproven, with the cause, and no other', () => {
    const verdict = judged(saying(withoutLog(), late));
    assert.deepEqual(summary(verdict), ['pending', 'facts_unavailable', 'affirming', 'none']);
    const [reason] = verdict.reasons;
    assert.deepEqual(
      [reason?.aspect, reason?.actual, reason?.source, reason?.severity, reason?.class],
      ['boot', late.boot, 'host', 'fail', 'service'],
    );
    assert.ok(!codesOf(verdict).includes('log_incomplete'));
  });

  it('is information where the group does not require the aspect', () => {
    const verdict = judged(saying(withoutLog(), late), sentLog, policyOf('require: [identity]'));
    assert.deepEqual(summary(verdict), ['trusted', 'facts_unavailable', 'affirming', 'none']);
    assert.equal(verdict.reasons[0]?.severity, 'info');
  });

  it('is not told where the group does not require the aspect, and the node never showed it', () => {
    const verdict = judged(
      saying(good, { disk: 'x', firewall: 'x' }),
      sentLog,
      policyOf('require: [identity]'),
    );
    assert.deepEqual(codesOf(verdict), []);
    assert.deepEqual([verdict.aspects.disk, verdict.aspects.firewall], [undefined, undefined]);
  });

  it('is an empty cause, where the node names none', () => {
    assert.equal(judged(saying(withoutLog(), { boot: '' })).reasons[0]?.actual, 'no cause was given');
  });

  it('counts for nothing where the part is there, or nobody reads it', () => {
    for (const unavailable of [late, { toString: 'x' }, { another: 'x' }, {}])
      assert.deepEqual(summary(judged(saying(good, unavailable))), [
        'trusted',
        undefined,
        'affirming',
        'affirming',
      ]);
  });

  it('counts for no aspect that does not read it', () => {
    for (const unavailable of [{ disk: 'x' }, { firewall: 'x' }]) {
      const verdict = judged(saying(good, unavailable));
      assert.deepEqual([verdict.state, verdict.aspects.boot?.status], ['trusted', 'affirming']);
      assert.ok(
        verdict.reasons.every(({ aspect, severity }) => aspect in unavailable && severity === 'info'),
      );
    }
  });

  it('may be the log of user space, which some boots have', () => {
    const verdict = judged(saying(good, { userSpace: 'EACCES' }));
    assert.deepEqual(summary(verdict), ['pending', 'facts_unavailable', 'affirming', 'none']);
    assert.equal(verdict.reasons[0]?.expected, 'the part userSpace');
  });

  it('may be what the node says of its kernel: who hides it does not hide what it would tell', () => {
    const host = { kexecLoadDisabled: false };
    assert.deepEqual(codesOf(judged(saying(good, undefined, host))), ['kexec_possible']);
    const verdict = judged(saying(good, { host: 'not read within 2000 ms' }));
    assert.deepEqual(summary(verdict), ['pending', 'facts_unavailable', 'affirming', 'none']);
    // Another collector spoke of the host: the one that did not is still missed.
    assert.equal(judged(saying(good, { host: 'x' }, host)).state, 'pending');
  });

  it('says what to do in words of its own', () => {
    assert.notEqual(nextStep({ code: 'facts_unavailable' }), nextStep({ code: 'latched' }));
  });
});

describe('a node that says it could not read its log, to hide its boot,', () => {
  it('row 113: is not trusted for that boot, by any policy', () => {
    const policies = [
      required,
      policyOf('require: [identity, boot]', 'boot: {withoutLog: pcrs}'),
      policyOf('require: [identity, boot]', 'severity: {facts_unavailable: info}'),
      policyOf(
        'require: [identity, boot]',
        'boot: {withoutLog: pcrs}',
        'severity: {facts_unavailable: info}',
      ),
      policyOf('require: [identity, {boot: tpm}]', 'boot: {withoutLog: pcrs}'),
    ];
    for (const policy of policies)
      for (const references of [[], [reference], [byValues(reference, log)]])
        for (const past of [sentLog, noPast])
          for (const from of [log, tamper(log, 'kernel')]) {
            const verdict = judged(saying(withoutLog(from), late), past, policy, references);
            assert.ok(['pending', 'untrusted'].includes(verdict.state), verdict.state);
            assert.notEqual(verdict.aspects.boot?.status, 'affirming');
            assert.ok(codesOf(verdict).includes('facts_unavailable'));
          }
  });

  it('stays contraindicated by what its PCRs say', () => {
    const proven = saying(withoutLog(tamper(log, 'kernel')), late);
    const verdict = judged(proven, sentLog, required, [byValues(reference, log)]);
    assert.equal(verdict.state, 'untrusted');
    assert.equal(verdict.aspects.boot?.status, 'contraindicated');
    assert.ok(codesOf(verdict).includes('facts_unavailable'));
    assert.notEqual(codesOf(verdict)[0], 'facts_unavailable');
  });

  it('stays contraindicated by a log that it does send', () => {
    const verdict = judged(saying(madeProof({ log: tamper(log, 'kernel') }), { userSpace: 'x', host: 'x' }));
    assert.deepEqual(summary(verdict), ['untrusted', 'kernel_unknown', 'affirming', 'contraindicated']);
  });

  it('row 113: gains nothing by saying it once: whoever is silent afterwards hides a log', () => {
    const { next } = appraise(saying(withoutLog(), late), required, { name: 'one', past: sentLog }, [], at);
    const past = { ...sentLog, sequence: next.sequence, memory: next.memory };
    assert.deepEqual(summary(judged(withoutLog(), past)).slice(0, 2), ['untrusted', 'log_incomplete']);
    assert.deepEqual(summary(judged(saying(withoutLog(), { userSpace: 'x' }), past)).slice(0, 2), [
      'untrusted',
      'log_incomplete',
    ]);
  });

  it('row 113: stays as untrusted as it was, until the log is read again', () => {
    const memory = (proven: Proven, past: NodePast, policy = required) => {
      const { verdict, next } = appraise(proven, policy, { name: 'one', past }, [reference], at);
      return { verdict, past: { ...sentLog, sequence: next.sequence, memory: next.memory } };
    };
    const bad = memory(madeProof({ log: tamper(log, 'kernel') }), sentLog);
    assert.deepEqual(summary(bad.verdict).slice(0, 2), ['untrusted', 'kernel_unknown']);
    let { past } = bad;
    for (const proven of [saying(withoutLog(), late), saying(withoutLog(), { boot: 'another' })]) {
      const hidden = memory(proven, past);
      assert.deepEqual(summary(hidden.verdict), [
        'untrusted',
        'kernel_unknown',
        'affirming',
        'contraindicated',
      ]);
      assert.ok(codesOf(hidden.verdict).includes('facts_unavailable'));
      past = structuredClone(hidden.past);
    }
    // A policy that takes it for less is obeyed.
    const mild = policyOf('require: [identity, boot]', 'severity: {kernel_unknown: warn}');
    assert.equal(memory(saying(withoutLog(), late), past, mild).verdict.state, 'pending');
    const again = memory(good, past);
    assert.equal(again.verdict.state, 'trusted');
    assert.deepEqual(again.past.memory, {});
    assert.equal(memory(saying(withoutLog(), late), again.past).verdict.state, 'pending');
  });

  it('is not believed what stands against it in a form that nobody wrote', () => {
    for (const against of [null, 'x', { boot: {} }, { boot: { code: 'no_such' } }])
      assert.equal(judged(saying(withoutLog(), late), { ...sentLog, memory: { against } }).state, 'pending');
  });

  it('keeps what is found on its counters and its identity', () => {
    const seen = appraise(good, required, { name: 'one' }, [reference], at).next.sequence;
    const ahead = { ...seen, resetCount: seen.resetCount + 1 };
    const verdict = judged(saying(withoutLog(), late), { ...sentLog, sequence: ahead });
    assert.equal(verdict.state, 'untrusted');
    assert.ok(codesOf(verdict).includes('counter_rollback'));
    const unknown = madeProof({ values: replayedValues(log, 'sha256'), ekDigest: null });
    assert.ok(codesOf(judged(saying(unknown, late))).includes('identity_unproven'));
  });

  it('is judged alike by an appraiser that remembers', () => {
    const remembering = verdictsBy(required, [reference]);
    const proofs = [withoutLog(), saying(withoutLog(), late), good, saying(good, { host: 'x' })];
    for (const proven of [...proofs, ...proofs.toReversed()])
      assert.deepEqual(remembering(proven, { name: 'one', past: sentLog }, at), judged(proven));
  });
});

describe('an aspect, a part of which was not read,', () => {
  const aspect = { name: 'disk', parts: ['disk'], readsHost: false } as const;
  const unread = unreadIn(saying(good, { disk: 'EACCES' }));

  it('is the one that reads it', () => {
    assert.deepEqual(unreadBy(aspect, unread), [{ name: 'disk', cause: 'EACCES' }]);
    assert.deepEqual(unreadBy({ ...aspect, parts: ['firewall'] }, unread), []);
  });

  it('has the code of its collector', () => {
    for (const [part, code] of [
      ['disk', 'facts_unavailable'],
      ['firewall', 'fw_unreadable'],
    ] as const)
      assert.equal(unavailable('disk', { name: part, cause: 'x' }).code, code);
  });

  it('remembers what it remembered before, and is not told that the part was left out', () => {
    const remembered = { disk: { volumes: ['uuid:1'] } };
    const past = { ...noPast, sentParts: ['boot', 'disk'] as const, memory: remembered };
    const node = { name: 'one', past };
    const { verdict, next } = appraise(
      saying(good, { disk: 'EACCES' }),
      policyOf('require: [disk]'),
      node,
      [],
      at,
    );
    assert.deepEqual(codesOf(verdict).slice(0, 1), ['facts_unavailable']);
    assert.deepEqual(next.memory.disk, remembered.disk);
  });
});
