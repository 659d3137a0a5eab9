import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { valuesIn } from '../../../../attest-server/policy/boot/by-value.ts';
import type { CaptureOptions } from '../../../../attest-server/policy/boot/capture.ts';
import { CaptureError } from '../../../../attest-server/policy/capture-error.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import type { PcrBank } from '../../../../attest-server/wire/messages.ts';
import type { Verdict } from '../../../../attest-server/wire/verdict.ts';
import { rewriteLog } from '../../../../swtpm-fixtures/rewrite-log.ts';
import { siblingLog } from '../../../../swtpm-fixtures/sibling.ts';
import { tamper } from '../../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { eventsWhere, eventWhere, without } from '../../../vectors/log-surgery.ts';
import { capturedFrom, madeProof, policyOf, replayedValues, verdictOn } from '../made-proof.ts';

/** All that its firmware measured: what the TPM holds. */
const whole = recordedLog('debian13-shim-grub');
const ofPcr0 = eventsWhere(whole, ({ pcr, type }) => pcr === 0 && type !== 'EV_NO_ACTION');
const version = eventWhere(whole, ({ type }) => type === 'EV_S_CRTM_VERSION').index;
const separator = ofPcr0.find(({ type }) => type === 'EV_SEPARATOR')!.index;
const blob = ofPcr0.find(({ index }) => index !== version && index !== separator)!.index;
/** What its log has: one event of PCR 0 is missing, as on a model that does not log all. */
const inPart = (log: Buffer, lacks = blob) => without(log, [lacks]);
const log = inPart(whole);
const other = randomBytes(32);

/** A machine with this log whose TPM holds what the whole one leads to, or something else in a PCR. */
function proofOf(
  of = log,
  { from = whole, pcrs = {} }: { from?: Buffer; pcrs?: Readonly<Record<number, Buffer>> } = {},
): Proven {
  const values = Buffer.from(replayedValues(from, 'sha256'));
  for (const [pcr, value] of Object.entries(pcrs)) value.copy(values, Number(pcr) * value.length);
  return madeProof({ log: of, values });
}

const captured = (proven: Proven, options: Partial<CaptureOptions> = {}): Reference =>
  capturedFrom(proven, { byValue: [0], node: 'n', ...options });
const good = captured(proofOf());

function judged(proven: Proven, references: readonly Reference[] = [good], boot = 'byValue: [0]'): Verdict {
  const policy = policyOf('require: [identity, boot]', `boot: {${boot}}`);
  return verdictOn(proven, policy, { name: 'n' }, references, 0);
}

const summary = ({ state, reasons }: Verdict) =>
  [state, ...reasons.map(({ code, severity }) => `${code} ${severity}`)].join(', ');
const byValue = 'trusted, unverified_event info';

describe('a machine whose log does not replay onto PCR 0', () => {
  it('is untrusted where the policy does not compare its value, whatever a reference has', () => {
    assert.match(summary(judged(proofOf(), [good], '')), /^untrusted, log_replay_mismatch fail/);
    assert.match(summary(judged(proofOf(), [good], 'byValue: [2]')), /^untrusted, log_replay_mismatch fail/);
  });

  it('is offered the rule when it is captured without, and no rule for what no firmware alone extends', () => {
    assert.throws(
      () => capturedFrom(proofOf()),
      (error) => {
        assert(error instanceof CaptureError);
        assert.match(error.message, /byValue: \[0\]/);
        return true;
      },
    );
    assert.throws(
      () => capturedFrom(proofOf(without(whole, [separator]), { pcrs: { 2: other } }), { byValue: [0] }),
      /byValue: \[0, 2\]/,
    );
    assert.throws(
      () => captured(proofOf(log, { pcrs: { 4: other } })),
      (error) => error instanceof CaptureError && !error.message.includes('byValue'),
    );
  });

  it('is captured with the value of PCR 0, and without what its log says of it', () => {
    const values = good.components.filter(({ kind }) => kind === 'value');
    const value = replayedValues(whole, 'sha256').subarray(0, 32).toString('hex');
    assert.deepEqual(
      values.map(({ stage, scope, pcr, digests }) => ({ stage, scope, pcr, digests })),
      [{ stage: 'firmware', scope: 'group', pcr: 0, digests: { sha256: value } }],
    );
    assert.deepEqual(good.pcrs, {});
    assert.equal(good.components.filter(({ pcr }) => pcr === 0).length, 1);
    assert.equal(good.events.filter(({ pcr }) => pcr === 0).length, 0);
  });

  it('is trusted with that value, says so, and vouches for no firmware version', () => {
    const proven = proofOf();
    const verdict = judged(proven);
    assert.equal(summary(verdict), byValue);
    assert.equal(verdict.reasons[0]?.evidence?.position, 'PCR 0');
    assert.equal(verdict.reasons[0]?.reference, good.name);
    assert.deepEqual(verdict.aspects.boot?.references, [good.name]);
    assert.equal(proven.boot?.state.firmwareVersion, null);
    assert.notEqual(madeProof({ log: whole }).boot?.state.firmwareVersion, null);
  });

  it('is trusted whichever event its log lacks', () => {
    assert.equal(summary(judged(proofOf(inPart(whole, version)))), byValue);
    assert.equal(summary(judged(proofOf(inPart(whole, separator)))), byValue);
  });

  it('has other firmware where the value is another: both are said (row 176)', () => {
    const [reason, ...more] = judged(proofOf(log, { pcrs: { 0: other } })).reasons;
    assert.deepEqual(more, []);
    assert.deepEqual(
      [reason?.code, reason?.severity, reason?.reference],
      ['firmware_unknown', 'fail', good.name],
    );
    assert.match(reason?.actual ?? '', new RegExp(other.toString('hex')));
    assert.match(reason?.expected ?? '', new RegExp(good.components[0]?.digests.sha256 ?? '-'));
    assert.equal(reason?.evidence?.position, 'PCR 0');
  });

  it('is judged by everything else as any machine', () => {
    const changed = tamper(whole, 'kernel');
    const verdict = judged(proofOf(inPart(changed), { from: changed }));
    assert.equal(summary(verdict), 'untrusted, kernel_unknown fail');
    const elsewhere = proofOf(log, { pcrs: { 4: other } });
    assert.match(summary(judged(elsewhere)), /^untrusted, log_replay_mismatch fail/);
  });

  it('takes its firmware from one reference, and its kernel from another', () => {
    const changed = tamper(whole, 'kernel');
    const newKernel = captured(madeProof({ log: changed }), { name: 'kernel' });
    const verdict = judged(proofOf(inPart(changed), { from: changed }), [good, newKernel]);
    assert.equal(summary(verdict), byValue);
    assert.equal(verdict.reasons[0]?.reference, good.name);
    assert.deepEqual(new Set(verdict.aspects.boot?.references), new Set(['kernel', good.name]));
  });

  it('needs a reference of its firmware also where none of the others speaks of it (row 176)', () => {
    const computed: Reference = {
      ...good,
      events: [],
      components: good.components.filter(({ stage }) => stage !== 'firmware'),
    };
    assert.match(summary(judged(proofOf(), [computed])), /^pending, no_reference fail/);
    assert.match(summary(judged(proofOf(), [])), /^pending, no_reference fail/);
  });

  it('is one model beside others, which are compared part by part as before', () => {
    const parts = captured(madeProof({ log: whole }), { name: 'parts' });
    assert.equal(parts.components.filter(({ kind }) => kind === 'value').length, 0);
    assert.equal(summary(judged(madeProof({ log: whole }), [good, parts])), 'trusted');
    assert.equal(summary(judged(proofOf(), [good, parts])), byValue);
  });

  it('is judged by its model under scope node, and warned of where any firmware is taken', () => {
    assert.equal(summary(judged(proofOf(), [good], 'byValue: [0], scope: {firmware: node}')), byValue);
    const others = captured(proofOf(), { node: 'another' });
    const foreign = judged(proofOf(), [others], 'byValue: [0], scope: {firmware: node}');
    assert.match(summary(foreign), /^untrusted, firmware_unknown fail/);
    const open = judged(
      proofOf(log, { pcrs: { 0: other } }),
      [good],
      'byValue: [0], scope: {firmware: unpinned}',
    );
    assert.equal(summary(open), 'trusted, firmware_unknown warn');
  });

  it('is revoked by its value', () => {
    const revoked: Reference = { ...good, name: 'revoked', state: 'revoked' };
    assert.match(summary(judged(proofOf(), [good, revoked])), /^untrusted, revoked_reference fail/);
    const later = proofOf(log, { pcrs: { 0: other } });
    const active = captured(later, { name: 'later' });
    const firmwareAlone: Reference = {
      ...revoked,
      components: revoked.components.filter(({ kind }) => kind === 'value'),
    };
    assert.equal(summary(judged(later, [active, firmwareAlone])), byValue);
  });
});

describe('a node that leaves events of PCR 0 out of its log (row 176)', () => {
  const parts = captured(madeProof({ log: whole }), { name: 'parts' });

  it('hides nothing: its value is in no reference of machines that log all', () => {
    assert.match(summary(judged(proofOf(), [parts])), /^untrusted, firmware_unknown fail/);
  });

  it('hides no firmware of its own', () => {
    const evil = siblingLog(whole, {});
    const first = ofPcr0.map(({ index }) => index);
    const replaced = rewriteLog(evil, new Map([[blob, { digest: { sha256: other.toString('hex') } }]]));
    for (const lacks of first)
      assert.match(
        summary(judged(proofOf(without(replaced, [lacks]), { from: replaced }), [good, parts])),
        /^untrusted, firmware_unknown fail/,
      );
  });

  it('cannot leave out all of them', () => {
    const empty = without(
      whole,
      ofPcr0.map(({ index }) => index),
    );
    assert.match(summary(judged(proofOf(empty))), /^untrusted, log_incomplete fail/);
  });

  it('cannot measure the good value instead: an event is no PCR', () => {
    const value = replayedValues(whole, 'sha256').subarray(0, 32).toString('hex');
    const alone = without(
      whole,
      ofPcr0.map(({ index }) => index).filter((index) => index !== blob && index !== separator),
    );
    const at = eventsWhere(
      alone,
      ({ pcr, type }) => pcr === 0 && type !== 'EV_NO_ACTION' && type !== 'EV_SEPARATOR',
    )[0]!;
    const said = rewriteLog(alone, new Map([[at.index, { digest: { sha256: value } }]]));
    assert.match(summary(judged(madeProof({ log: said }))), /^untrusted, firmware_unknown fail/);
  });

  it('hides no separator that is missing elsewhere', () => {
    const five = eventWhere(whole, ({ pcr, type }) => pcr === 5 && type === 'EV_SEPARATOR').index;
    const open = without(whole, [five]);
    assert.match(
      summary(judged(madeProof({ log: open }), [captured(madeProof({ log: whole }))])),
      /separator_error fail/,
    );
    assert.match(
      summary(judged(proofOf(without(whole, [five, blob]), { from: open }))),
      /separator_error fail/,
    );
  });

  it('shows its value in each bank that is compared, and is not compared where one does not have it', () => {
    const quote = (bank: PcrBank, mask = 0xffffff) => ({ bank, mask, values: replayedValues(whole, bank) });
    const { problems } = proofOf().boot!;
    const rules = { byValue: [0] };
    const banks = [quote('sha1'), quote('sha256'), quote('sha384')];
    const [value, ...more] = valuesIn(problems, banks, rules);
    assert.deepEqual(more, []);
    const hexOf = (bank: PcrBank, size: number) => replayedValues(whole, bank).toString('hex', 0, size);
    assert.deepEqual(value?.digests, { sha256: hexOf('sha256', 32), sha384: hexOf('sha384', 48) });
    assert.deepEqual(valuesIn(problems, [quote('sha256'), quote('sha384', 0xfffffe)], rules), []);
    assert.deepEqual(valuesIn(problems, [quote('sha1')], rules), []);
    assert.deepEqual(valuesIn([], banks, rules), []);
  });
});
