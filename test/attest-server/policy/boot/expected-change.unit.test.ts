import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import type { Announcement, Reference } from '../../../../attest-server/formats/reference.ts';
import type { Judge } from '../../../../attest-server/policy/aspect.ts';
import { expectingChanges } from '../../../../attest-server/policy/boot/expected-change.ts';
import type { Policy } from '../../../../attest-server/policy/policy.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import type { Verdict } from '../../../../attest-server/wire/verdict.ts';
import { digestsOf } from '../../../../swtpm-fixtures/remeasure.ts';
import { rewriteLog } from '../../../../swtpm-fixtures/rewrite-log.ts';
import { tamper } from '../../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { eventsWhere, insertBefore } from '../../../vectors/log-surgery.ts';
import { judgedNode } from '../disk/made-disk.ts';
import { capturedFrom, madeProof, policyOf, replayedValues, verdictOn } from '../made-proof.ts';

const log = recordedLog('debian13-shim-grub');
const old = madeProof({ log });
const updated = madeProof({ log: recordedLog('debian13-shim-grub-kernel') });
const otherLine = madeProof({ log: recordedLog('debian13-shim-grub-cmdline') });
const foreign = madeProof({ log: tamper(log, 'kernel') });
const insecure = madeProof({ log: tamper(log, 'secureboot') });
const required = policyOf('require: [identity, boot]');

const begin = '2026-12-01T08:00:00.000Z';
const end = '2026-12-01T16:00:00.000Z';
const within = Date.parse('2026-12-01T12:00:00Z');
const announced: Announcement = {
  nodes: null,
  by: 'token:alice',
  at: begin,
  until: end,
  reason: 'kernel update',
};
const known = capturedFrom(old, { name: 'known' });
const next: Reference = { ...capturedFrom(updated, { name: 'next', state: 'staged' }), announced };
const nothing: Reference = { ...next, name: 'any', components: [], events: [], announced };
/** A kernel alone, as `assay expect --kernel` announces one. */
function kernelOf(proven: Proven, change: Partial<Reference> = {}): Reference {
  const whole = capturedFrom(proven, { name: 'kernel', state: 'staged' });
  const components = whole.components.filter(({ stage }) => stage === 'kernel');
  assert.ok(components.length > 0);
  return { ...whole, components, events: [], announced, ...change };
}

function judged(
  proven: Proven,
  references: readonly Reference[],
  { at = within, node = 'worker-1', policy = required }: { at?: number; node?: string; policy?: Policy } = {},
): readonly string[] {
  const { state, reasons }: Verdict = verdictOn(proven, policy, { name: node }, references, at);
  return [state, ...reasons.map(({ code, severity }) => `${code} ${severity}`)];
}

const untrusted = ['untrusted', 'kernel_unknown fail'];
const pending = ['pending', 'change_expected fail'];
const arrived = ['trusted', 'change_expected info'];

const kernelEvent = parseEventLog(recordedLog('debian13-shim-grub-kernel')).events.findIndex(
  ({ pcr, stage }) => pcr === 9 && stage === 'kernel',
);

/** The same boot, whose initrd was made on the node. */
function withOtherInitrd(boot: Buffer): Proven {
  return madeProof({ log: otherInitrdIn(boot) });
}

function otherInitrdIn(boot: Buffer): Buffer {
  const events = parseEventLog(boot).events.filter(({ stage, pcr }) => stage === 'initrd' && pcr === 9);
  assert.ok(events.length > 0);
  const digest = digestsOf((bank) => hash(bank, 'another initrd', 'hex'));
  return rewriteLog(boot, new Map(events.map(({ index }) => [index, { digest }])));
}

describe('a change that somebody announced', () => {
  it('makes nodes trusted that boot what was announced, and leaves those trusted that boot as before', () => {
    assert.deepEqual(judged(updated, [known, next]), arrived);
    assert.deepEqual(judged(old, [known, next]), ['trusted']);
  });

  it('makes them trusted where nothing is in force yet, and leaves all others as they are', () => {
    const none = ['pending', 'no_reference fail'];
    assert.deepEqual(judged(updated, [next]), arrived);
    for (const proven of [old, foreign]) assert.deepEqual(judged(proven, [next]), none);
    assert.deepEqual(judged(updated, [nothing]), none);
    assert.deepEqual(judged(updated, [kernelOf(updated)]), none);
  });

  it('makes them trusted with another command line that the announced reference has', () => {
    const line: Reference = { ...capturedFrom(otherLine, { name: 'line', state: 'staged' }), announced };
    assert.deepEqual(judged(otherLine, [known]), ['untrusted', 'cmdline_policy fail']);
    assert.deepEqual(judged(otherLine, [known, line]), arrived);
  });

  it('of a kernel alone leaves a node pending whose initrd nobody knows', () => {
    const changed = withOtherInitrd(recordedLog('debian13-shim-grub-kernel'));
    assert.deepEqual(judged(changed, [known]), untrusted);
    assert.deepEqual(judged(changed, [known, kernelOf(updated)]), pending);
  });

  it('of nothing by name leaves a node pending that boots any other kernel', () => {
    assert.deepEqual(judged(foreign, [known, nothing]), pending);
  });

  it('is no excuse for something else', () => {
    assert.deepEqual(judged(foreign, [known, next]), untrusted);
    assert.deepEqual(judged(foreign, [known, kernelOf(updated)]), untrusted);
    assert.deepEqual(judged(otherLine, [known, kernelOf(updated)]), ['untrusted', 'cmdline_policy fail']);
  });

  it('is no excuse for another loader, file or command beside the kernel that was announced (row 180)', () => {
    const boot = recordedLog('debian13-shim-grub-kernel');
    const kernel = eventsWhere(boot, ({ pcr, stage }) => pcr === 9 && stage === 'kernel')[0]?.index ?? 0;
    for (const [pcr, data] of [
      [4, '/evil'],
      [8, 'evil'],
      [9, '/evil'],
    ] as const) {
      const besides = madeProof({
        log: insertBefore(boot, kernel, { pcr, type: 13, data: Buffer.from(data) }),
      });
      assert.equal(judged(besides, [known, next])[0], 'untrusted', `PCR ${pcr}`);
      // The initrd is unknown then, and GRUB's commands go with it.
      const ofKernel = judged(besides, [known, kernelOf(updated)])[0];
      assert.equal(ofKernel, pcr === 4 ? 'untrusted' : 'pending', `PCR ${pcr}`);
      assert.deepEqual(judged(besides, [known, nothing]), pending);
    }
  });

  it('leaves a node pending that needs a reference of its own besides', () => {
    const policy = policyOf('require: [identity, boot]', 'boot: {scope: {loader: node}}');
    assert.deepEqual(judged(updated, [known, next], { policy }), pending);
  });

  it('excuses what a node makes for itself, and no loader or firmware beside it (row 230)', () => {
    const boot = otherInitrdIn(recordedLog('debian13-shim-grub-kernel'));
    const kernel = eventsWhere(boot, ({ pcr, stage }) => pcr === 9 && stage === 'kernel')[0]?.index ?? 0;
    const [firmware = assert.fail()] = eventsWhere(boot, ({ pcr, type }) => pcr === 0 && /BLOB/.test(type));
    const digest = digestsOf((bank) => hash(bank, 'another firmware', 'hex'));
    const evil = {
      loader: insertBefore(boot, kernel, { pcr: 4, type: 13, data: Buffer.from('/evil') }),
      firmware: rewriteLog(boot, new Map([[firmware.index, { digest }]])),
    };
    for (const initrd of ['group', 'node']) {
      const policy = policyOf('require: [identity, boot]', `boot: {scope: {initrd: ${initrd}}}`);
      assert.deepEqual(judged(madeProof({ log: boot }), [known, kernelOf(updated)], { policy }), pending);
      for (const [what, log] of Object.entries(evil))
        assert.equal(
          judged(madeProof({ log }), [known, kernelOf(updated)], { policy })[0],
          'untrusted',
          what,
        );
    }
  });

  for (const [moment, at, expected] of [
    ['before it begins', Date.parse(begin) - 1, untrusted],
    ['when it begins', Date.parse(begin), arrived],
    ['just before it ends', Date.parse(end) - 1, arrived],
    ['when it has ended', Date.parse(end), untrusted],
  ] as const)
    it(`gives ${expected[0]} ${moment}`, () =>
      assert.deepEqual(judged(updated, [known, next], { at }), expected));

  it('counts for the nodes alone that it names', () => {
    const one: Reference = { ...next, announced: { ...announced, nodes: ['worker-1'] } };
    assert.deepEqual(judged(updated, [known, one]), arrived);
    assert.deepEqual(judged(updated, [known, one], { node: 'worker-2' }), untrusted);
  });

  it('makes a node trusted that boots what two announcements have together, and each alone has not', () => {
    const parts = (name: string, is: (stage: string) => boolean): Reference => {
      const whole = capturedFrom(updated, { name, state: 'staged' });
      return {
        ...whole,
        components: whole.components.filter(({ stage }) => is(stage)),
        events: [],
        announced,
      };
    };
    const kernel = parts('kernel', (stage) => stage === 'kernel');
    const rest = parts('rest', (stage) => stage !== 'kernel');
    assert.deepEqual(judged(updated, [kernel, rest]), arrived);
    for (const one of [kernel, rest])
      assert.deepEqual(judged(updated, [one]), ['pending', 'no_reference fail']);
    const forOthers = { ...rest, announced: { ...announced, nodes: ['worker-2'] } };
    assert.deepEqual(judged(updated, [kernel, forOthers]), ['pending', 'no_reference fail']);
  });

  it('costs one more judgement, however many are announced', () => {
    const group = required.groups[0] ?? assert.fail();
    const judgements: (readonly Reference[])[] = [];
    const judgeBy = (references: readonly Reference[]): Judge => ({
      judge: () => {
        judgements.push(references);
        return { findings: [], affirmed: false, source: 'tpm' };
      },
    });
    const references = Array.from({ length: 64 }, (_, index) => ({ ...next, name: `next-${index}` }));
    const judge = expectingChanges(judgeBy(references), group.rules.boot, { group, references }, judgeBy);
    judge.judge(updated, judgedNode({ node: 'worker-1' }), within);
    assert.deepEqual(
      judgements.map((seen) => seen.filter(({ state }) => state === 'active').length),
      [0, 64],
    );
  });

  it('counts for the group of its reference alone', () => {
    assert.deepEqual(judged(updated, [known, { ...next, group: 'others' }]), untrusted);
  });

  it('counts where the policy names references, and not this one', () => {
    const policy = policyOf('require: [identity, boot]', 'boot: {references: [known]}');
    assert.deepEqual(judged(updated, [known, next], { policy }), arrived);
    assert.deepEqual(judged(updated, [known], { policy }), untrusted);
  });

  for (const state of ['retired', 'revoked'] as const)
    it(`counts for nothing once its reference is ${state}`, () => {
      assert.equal(judged(updated, [known, { ...next, state }])[0], 'untrusted');
    });

  it('does not make a revoked kernel good again (row 180)', () => {
    const revoked: Reference = { ...capturedFrom(updated, { name: 'bad' }), state: 'revoked' };
    for (const change of [next, kernelOf(updated), nothing])
      assert.deepEqual(judged(updated, [known, revoked, change]).slice(0, 2), [
        'untrusted',
        'revoked_reference fail',
      ]);
  });

  it('does not excuse Secure Boot that is off, nor a log that was altered (row 180)', () => {
    assert.deepEqual(judged(insecure, [known, nothing]).slice(0, 2), ['untrusted', 'secureboot_off fail']);
    const dropped = rewriteLog(recordedLog('debian13-shim-grub-kernel'), new Map([[kernelEvent, 'drop']]));
    const altered = madeProof({
      log: dropped,
      values: replayedValues(recordedLog('debian13-shim-grub-kernel'), 'sha256'),
    });
    assert.deepEqual(judged(altered, [known, nothing]).slice(0, 2), [
      'untrusted',
      'log_replay_mismatch fail',
    ]);
  });

  it('says who announced it, until when, and what is unknown', () => {
    const { reasons } = verdictOn(foreign, required, { name: 'worker-1' }, [known, nothing], within);
    const [{ text, detail, expected, reference } = assert.fail()] = reasons;
    assert.match(text, /token:alice announced it until 2026-12-01T16:00:00.000Z \(kernel update\)/);
    assert.match(detail?.[0] ?? '', /^kernel_unknown: /);
    assert.equal(expected, `a change until ${end}`);
    // To approve a reference that names nothing would end the announcement, and make no node trusted.
    assert.equal(reference, undefined);
    const { reasons: named } = verdictOn(
      withOtherInitrd(recordedLog('debian13-shim-grub-kernel')),
      required,
      { name: 'worker-1' },
      [known, kernelOf(updated)],
      within,
    );
    assert.equal(named[0]?.reference, 'kernel');
  });
});
