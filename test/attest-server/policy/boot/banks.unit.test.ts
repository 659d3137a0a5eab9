import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { bankBytes, type PcrBank } from '../../../../attest-server/protocol/messages.ts';
import { hashPart } from '../../../../attest-server/verify/hashed-part.ts';
import { measureBoot } from '../../../../attest-server/verify/measured-boot.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { bankByHand, provenByHand } from '../../verify/made-by-hand.ts';
import { capturedFrom, madeProof, policyOf, replayedValues, verdictOn } from '../made-proof.ts';

const log = recordedLog('debian13-shim-grub');
const strict = policyOf('require: [identity, boot]');

/** A boot that left these values in its banks; what is left out, as its log says. */
function booted(values: Readonly<Partial<Record<PcrBank, Buffer>>>) {
  const banks = (Object.keys(values) as PcrBank[]).map((bank) =>
    bankByHand({ bank, mask: 0xffffff, values: values[bank] ?? Buffer.alloc(0) }),
  );
  return provenByHand(madeProof({ log }), { banks, boot: measureBoot(hashPart(log), banks) });
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
});
