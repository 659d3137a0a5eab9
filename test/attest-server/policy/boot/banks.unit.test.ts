import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { observe } from '../../../../attest-server/policy/draft/observation.ts';
import { hashPart } from '../../../../attest-server/verify/hashed-part.ts';
import { measureBoot } from '../../../../attest-server/verify/measured-boot.ts';
import { bankBytes, type PcrBank } from '../../../../attest-server/wire/messages.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { bankByHand, provenByHand } from '../../verify/made-by-hand.ts';
import { aggregateOf, capturedFrom, madeProof, policyOf, replayedValues, verdictOn } from '../made-proof.ts';

const log = recordedLog('debian13-shim-grub');
const strict = policyOf('require: [identity, boot]');

/** A boot that left these values in its banks; what is left out, as its log says. */
function booted(values: Readonly<Partial<Record<PcrBank, Buffer>>>) {
  const banks = (Object.keys(values) as PcrBank[]).map((bank) =>
    bankByHand({ bank, mask: 0xffffff, values: values[bank] ?? Buffer.alloc(0) }),
  );
  const aggregate = values.sha256 === undefined ? null : aggregateOf(values.sha256, 'sha256');
  return provenByHand(madeProof({ log }), { banks, boot: measureBoot(hashPart(log), banks), aggregate });
}

const zeros = (bank: PcrBank) => Buffer.alloc(24 * bankBytes[bank]);
const sha256 = replayedValues(log, 'sha256');
const judged = (proven: ReturnType<typeof booted>) => {
  const { state, reasons } = verdictOn(proven, strict, { name: 'n' }, [capturedFrom(madeProof({ log }))], 0);
  return [state, ...reasons.map(({ code, severity }) => `${code} ${severity}`)].join(', ');
};

describe('a boot in several banks', () => {
  it('is trusted where all of them say the same', () => {
    assert.equal(judged(booted({ sha256, sha384: replayedValues(log, 'sha384') })), 'trusted');
  });

  it('is warned of, and can be captured, where the firmware leaves a bank alone beside one that it extends', () => {
    const proven = booted({ sha256, sha384: zeros('sha384') });
    assert.equal(judged(proven), 'trusted, bank_unextended warn');
    assert.equal(capturedFrom(proven).kind, 'boot');
    const node = { name: 'n', tpmClass: 'unknown', manufacturer: null } as const;
    assert.equal(observe(proven, node).boot?.secureBoot, true);
    assert.equal(observe(booted({ sha256: zeros('sha256') }), node).boot, null);
  });

  it('is not trusted where no strong bank was extended (row 22)', () => {
    assert.match(judged(booted({ sha256: zeros('sha256') })), /^untrusted, bank_unextended fail/);
    const none = booted({ sha1: replayedValues(log, 'sha1'), sha256: zeros('sha256') });
    assert.match(judged(none), /^untrusted, bank_unextended fail/);
    assert.throws(() => capturedFrom(none), { name: 'CaptureError' });
  });

  it('is not trusted where one bank was told of another boot (row 23)', () => {
    const sha384 = Buffer.from(replayedValues(log, 'sha384'));
    sha384.fill(7, 4 * 48, 5 * 48);
    const told = judged(booted({ sha256, sha384 }));
    assert.match(told, /^untrusted, .*bank_mismatch fail/);
  });

  it('matches a reference by values in every bank that both have, and is a revoked one by any of them', () => {
    const good = { sha256, sha384: replayedValues(log, 'sha384') };
    const pcrs = Object.fromEntries(
      (['sha256', 'sha384'] as const).map((bank) => [bank, named(good[bank], bankBytes[bank])]),
    );
    const byValues = { ...capturedFrom(madeProof({ log })), components: [], events: [], pcrs };
    const policy = policyOf('require: [identity, boot]', 'boot: {withoutLog: pcrs}');
    const codes = (values: typeof good, state: 'active' | 'revoked') => {
      const proven = provenByHand(booted(values), { boot: null });
      const { reasons } = verdictOn(proven, policy, { name: 'n' }, [{ ...byValues, state }], 0);
      return reasons.map(({ code }) => code);
    };
    assert.deepEqual(codes(good, 'active'), ['no_boot_log']);
    assert.deepEqual(codes(good, 'revoked'), ['revoked_reference']);
    for (const bank of ['sha256', 'sha384'] as const) {
      const other = { ...good, [bank]: Buffer.from(good[bank]).fill(7, 0, bankBytes[bank]) };
      assert.deepEqual(codes(other, 'active'), ['pcr_mismatch'], bank);
      assert.deepEqual(codes(other, 'revoked'), ['revoked_reference'], bank);
    }
  });
});

/** The values of a bank as a reference names them. */
function named(values: Buffer, size: number): Record<string, string> {
  return Object.fromEntries(
    Array.from({ length: 24 }, (_, pcr) => [pcr, values.toString('hex', size * pcr, size * (pcr + 1))]),
  );
}
