import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { hashPart } from '../../../../attest-server/verify/hashed-part.ts';
import { measureBoot } from '../../../../attest-server/verify/measured-boot.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { provenByHand } from '../../verify/made-by-hand.ts';
import { cap, type Extended, pcr15, userSpaceLog } from '../../verify/made-cap.ts';
import { capturedFrom, madeProof, policyOf, replayedValues, verdictOn } from '../made-proof.ts';

const at = Date.parse('2026-11-25T12:00:00Z');
const log = recordedLog('debian13-shim-grub');
const userSpace = ['machine-id:1', 'file-system:/'];
const after = 'cryptsetup:later';
const captured = capturedFrom(madeProof({ log }));

/** A boot whose PCR 15 was extended by these, which systemd's log says of it. */
function booted(extended: readonly Extended[], from: Buffer | null = log): Proven {
  const values = Buffer.from(replayedValues(log, 'sha256'));
  pcr15('sha256', extended).copy(values, 15 * 32);
  const proven = madeProof({ log: from, values });
  if (from === null) return proven;
  const boot = measureBoot(hashPart(from), proven.banks, hashPart(userSpaceLog([...userSpace, after])));
  return provenByHand(proven, { boot, cap: boot.cap });
}

const verdict = (proven: Proven, rules: string, references: readonly Reference[]) => {
  const policy = policyOf('require: [identity, boot]', `boot: ${rules}`);
  const { state, reasons } = verdictOn(proven, policy, { name: 'n' }, references, at);
  return [state, ...reasons.filter(({ severity }) => severity === 'fail').map(({ code }) => code)].join(' ');
};

/** A reference that names PCR 15 as it is before any cap. */
const naming = (...extended: readonly Extended[]): Reference => ({
  ...captured,
  pcrs: { sha256: { 15: pcr15('sha256', extended).toString('hex') } },
});

describe('a capped boot', () => {
  it('is judged by the policy and by references as it was before', () => {
    const all: readonly (readonly Extended[])[] = [
      userSpace,
      [...userSpace, cap],
      [...userSpace, cap, after],
      [cap, ...userSpace],
    ];
    for (const extended of all) assert.equal(verdict(booted(extended), '{}', [captured]), 'trusted');
  });

  it('has a PCR 15 that is explained, and one that holds anything else has not', () => {
    const explained = (...extended: readonly Extended[]) =>
      verdict(booted(extended), '{explained: [15]}', [captured]);
    assert.equal(explained(...userSpace), 'trusted');
    assert.equal(explained(...userSpace, cap), 'trusted');
    assert.equal(explained('machine-id:1', cap, 'file-system:/'), 'trusted');
    assert.equal(explained(...userSpace, 'other'), 'untrusted unverified_event');
    assert.equal(explained(...userSpace, 'other', cap), 'untrusted unverified_event');
  });

  it('has the PCR 15 that a reference names, which is the one before the cap', () => {
    const named = (...extended: readonly Extended[]) =>
      verdict(booted(extended), '{}', [naming(...userSpace)]);
    assert.equal(named(...userSpace), 'trusted');
    assert.equal(named(...userSpace, cap), 'trusted');
    assert.equal(named(...userSpace, cap, after), 'trusted');
    assert.equal(named('machine-id:1', cap, 'file-system:/'), 'untrusted pcr_mismatch');
    assert.equal(named(...userSpace, after), 'untrusted pcr_mismatch');
  });

  it('is known by its values alone where it sends no log', () => {
    const values = Object.fromEntries(
      Array.from({ length: 16 }, (_, pcr) => pcr)
        .filter((pcr) => pcr !== 10)
        .map((pcr) => [pcr, replayedValues(log, 'sha256').toString('hex', pcr * 32, pcr * 32 + 32)]),
    );
    const byValues: Reference = { ...captured, components: [], events: [], pcrs: { sha256: values } };
    const judged = (...extended: readonly Extended[]) =>
      verdict(booted(extended, null), '{withoutLog: pcrs}', [byValues]);
    assert.equal(judged(), 'trusted');
    assert.equal(judged(cap), 'trusted');
    assert.equal(judged('other'), 'untrusted pcr_mismatch');
    assert.equal(judged('other', cap), 'untrusted pcr_mismatch');
  });
});
