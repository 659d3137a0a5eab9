import assert from 'node:assert/strict';
import { createHash, hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { checkAttestationKey, otherQualifiedNames } from '../../../attest-server/verify/attestation-key.ts';
import type { QuoteEvidence } from '../../../attest-server/verify/quote.ts';
import {
  type ConnectionBinding,
  type Evidence,
  type ExpectedIdentity,
  verify,
} from '../../../attest-server/verify/verify.ts';
import { qualifyingData } from '../../../attest-server/wire/binding.ts';
import type { PcrSelection } from '../../../attest-server/wire/messages.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { partOf } from './made-by-hand.ts';
import { akOf, allPcrs, madeQuote, madeValues } from './made-quote.ts';
import { rejectionOf } from './rejection-of.ts';
import { ecdsaSignature, madeArea, type SoftwareKey, softwareKey, tpmSign } from './software-key.ts';

const rsa = softwareKey('rsa2048');
const p256 = softwareKey('p256');
const stranger = softwareKey('p256');

const session = { node: 'worker-1', helloDigest: 'ab'.repeat(32), purpose: 'attest' } as const;
const facts = JSON.stringify({ ...session, bootId: '0f5c3d7e-1111-4222-8333-444455556666' });
const nonce = Buffer.alloc(32, 1);
const channel = Buffer.alloc(32, 2);
const otherChannel = Buffer.alloc(32, 3);
const every = Array.from({ length: 24 }, (_, pcr) => pcr);

const binding: ConnectionBinding = { nonce, channel, claimedChannel: channel, session };

function signed(change: { nonce?: Buffer; channel?: Buffer; facts?: string; bootLog?: string } = {}): Buffer {
  const digest = qualifyingData({
    nonce: change.nonce ?? nonce,
    channel: change.channel ?? channel,
    facts: createHash('sha256')
      .update(change.facts ?? facts)
      .digest(),
    bootLog: Buffer.from(change.bootLog ?? '', 'hex'),
    keyRequest: Buffer.alloc(0),
  });
  return Buffer.from(digest, 'hex');
}

function expected(key: SoftwareKey, change: Partial<ExpectedIdentity> = {}): ExpectedIdentity {
  return {
    ak: akOf(key),
    ekDigest: 'ee'.repeat(32),
    judgeHierarchy: true,
    binding,
    selection: { sha256: every },
    ...change,
  };
}

const evidence = (...quotes: QuoteEvidence[]): Evidence => ({ quotes, facts, parts: {} });

function refused(code: ReasonCode, quote: QuoteEvidence | Evidence, wanted: ExpectedIdentity): void {
  const whole = 'quotes' in quote ? quote : evidence(quote);
  assert.throws(() => verify(whole, wanted), { name: 'Rejection', code });
}

describe('verify', () => {
  for (const key of [rsa, p256])
    it(`proves a quote that holds in every respect, ${key.kind}`, () => {
      const proof = verify(evidence(madeQuote(key, signed())), expected(key));
      assert.equal(proof.akName, akOf(key).name);
      assert.equal(proof.ekDigest, 'ee'.repeat(32));
      assert.deepEqual(
        proof.banks.map(({ bank, mask }) => [bank, mask]),
        [['sha256', 0xffffff]],
      );
      assert.deepEqual(proof.clock, { clock: 0x1234n, resetCount: 7, restartCount: 0, safe: true });
      assert.equal(proof.firmwareVersion, '2019102300163636');
      assert.equal(proof.facts?.node, 'worker-1');
    });

  it('proves evidence of other origin over the bytes that its quotes carry, none included', () => {
    for (const extraData of ['', '9009']) {
      const quote = madeQuote(rsa, Buffer.from(extraData, 'hex'));
      const wanted = expected(rsa, { binding: { qualifyingData: extraData }, selection: null });
      assert.equal(verify({ ...evidence(quote), facts: null }, wanted).facts, null);
      refused('nonce_invalid', quote, { ...wanted, binding: { qualifyingData: '9010' } });
    }
  });

  it('measures the boot log against the quoted banks, and binds its digest', () => {
    const log = recordedLog('debian13-shim-grub');
    const pcrs = { sha256: replayedValues(log, 'sha256') };
    const boot = partOf(log);
    const quote = madeQuote(rsa, signed({ bootLog: boot.digest }), { pcrs });
    const proof = verify({ ...evidence(quote), parts: { boot } }, expected(rsa));
    assert.deepEqual([proof.boot?.digest, proof.boot?.userSpaceDigest], [boot.digest, null]);
    assert.deepEqual(proof.boot?.problems, []);
    const other = partOf(Buffer.from('another log'));
    refused('nonce_invalid', { ...evidence(quote), parts: { boot: other } }, expected(rsa));
    refused('nonce_invalid', evidence(quote), expected(rsa));
  });

  it('believes no digest of a boot log that it did not compute', () => {
    const { digest } = partOf(recordedLog('debian13-shim-grub'));
    const quote = madeQuote(rsa, signed({ bootLog: digest }));
    for (const bytes of [Buffer.from('another log'), Buffer.alloc(0), null]) {
      const whole = { ...evidence(quote), parts: { boot: { digest, bytes } } };
      const { code, field } = rejectionOf(() => verify(whole, expected(rsa))) ?? {};
      assert.deepEqual([code, field], ['malformed', 'parts.boot']);
    }
  });

  describe('a part of the evidence', () => {
    const disk = partOf(Buffer.from('disks'));
    const naming = (parts: object) => JSON.stringify({ ...JSON.parse(facts), parts });
    const given = (said: string, parts: Evidence['parts']) => {
      const quote = madeQuote(p256, signed({ facts: said, bootLog: parts.boot?.digest ?? '' }));
      return () => verify({ quotes: [quote], facts: said, parts }, expected(p256));
    };
    const cases: readonly (readonly [
      what: string,
      said: object,
      parts: Evidence['parts'],
      answer: string,
    ])[] = [
      ['is proven where the signed facts name its digest', { disk: disk.digest }, { disk }, 'proven'],
      [
        'is proven by its digest alone where it is only named',
        { disk: disk.digest },
        { disk: { digest: disk.digest, bytes: null } },
        'proven',
      ],
      ['that the facts do not name is refused', {}, { disk }, 'nonce_invalid parts.disk'],
      [
        'that the facts name otherwise is refused',
        { disk: '00'.repeat(32) },
        { disk },
        'nonce_invalid parts.disk',
      ],
      [
        'under the digest of another is refused',
        { disk: disk.digest },
        { disk: { digest: disk.digest, bytes: Buffer.from('other') } },
        'malformed parts.disk',
      ],
      ['that the facts name and nobody sent is missed', { disk: disk.digest }, {}, 'malformed parts.disk'],
      [
        'of user space needs its bytes',
        {},
        { userSpace: { digest: disk.digest, bytes: null } },
        'malformed parts.userSpace',
      ],
      [
        'may not contradict the facts, be it a log',
        { userSpace: '00'.repeat(32) },
        { userSpace: disk },
        'nonce_invalid parts.userSpace',
      ],
      ['that nobody knows is none', { diskette: disk.digest }, {}, 'malformed facts.parts'],
    ];
    for (const [what, said, parts, answer] of cases)
      it(what, () => {
        const refusal = rejectionOf(given(naming(said), parts));
        assert.equal(refusal === null ? 'proven' : `${refusal.code} ${refusal.field}`, answer);
      });

    it('is in the proof with digest and bytes, and no log is among them', () => {
      const boot = partOf(recordedLog('debian13-shim-grub'));
      const proof = given(naming({ disk: disk.digest }), { disk, boot })();
      assert.deepEqual(proof.parts, { disk });
    });

    it('proves nothing where no facts were signed', () => {
      const quote = madeQuote(rsa, Buffer.of(7));
      const wanted = expected(rsa, { binding: { qualifyingData: '07' }, selection: null });
      const whole = { quotes: [quote], facts: naming({ disk: disk.digest }), parts: { disk } };
      refused('nonce_invalid', whole, wanted);
    });
  });

  it('refuses a quote under another key than the enrolled one (row 2)', () => {
    refused('ak_mismatch', madeQuote(stranger, signed()), expected(p256));
  });

  it('refuses a made attestation of an unrestricted key even if that key was admitted (row 5)', () => {
    refused('not_tpm_generated', madeQuote(p256, signed(), { magic: 0 }), expected(p256));
  });

  it('refuses an answer that was made for another connection (row 9)', () => {
    const relayed = madeQuote(p256, signed({ channel: otherChannel }));
    refused(
      'channel_binding',
      relayed,
      expected(p256, { binding: { ...binding, claimedChannel: otherChannel } }),
    );
    refused('nonce_invalid', relayed, expected(p256));
  });

  it('refuses facts that name another node, hello or purpose (row 10)', () => {
    for (const change of [
      { node: 'worker-2' },
      { helloDigest: '00'.repeat(32) },
      { purpose: 'unlock' as const },
    ]) {
      const wanted = expected(p256, { binding: { ...binding, session: { ...session, ...change } } });
      refused('identity_claim_mismatch', madeQuote(p256, signed()), wanted);
    }
  });

  it('refuses evidence without facts where a session wants them', () => {
    const sign = qualifyingData({
      nonce,
      channel,
      facts: Buffer.alloc(0),
      bootLog: Buffer.alloc(0),
      keyRequest: Buffer.alloc(0),
    });
    const bare = { ...evidence(madeQuote(p256, Buffer.from(sign, 'hex'))), facts: null };
    refused('identity_claim_mismatch', bare, expected(p256));
  });

  it('refuses what no TPM made (row 14)', () => {
    for (const magic of [0, 0x4743544f, 0xff544348, 0xffffffff])
      refused('not_tpm_generated', madeQuote(rsa, signed(), { magic }), expected(rsa));
  });

  it('refuses every other attestation passed off as a quote (row 15)', () => {
    for (const type of [0x8014, 0x8015, 0x8016, 0x8017, 0x8019, 0x801a, 0x801c, 0])
      refused('wrong_attest_type', madeQuote(rsa, signed(), { type }), expected(rsa));
  });

  it('refuses an empty, padded, truncated, folded or foreign nonce (row 17)', () => {
    const good = signed();
    const cases = [
      Buffer.alloc(0),
      Buffer.concat([good, Buffer.alloc(1)]),
      Buffer.concat([Buffer.alloc(1), good]),
      good.subarray(1),
      good.subarray(0, 31),
      Buffer.from(good.toString('hex')),
      Buffer.from(good.toString('hex').toUpperCase()),
      Buffer.from(good.toString('latin1').toLowerCase(), 'latin1').map((byte) => byte ^ 0x20),
      nonce,
      signed({ nonce: Buffer.alloc(32, 9) }),
      signed({ facts: facts.replace('worker-1', 'worker-2') }),
    ];
    for (const extraData of cases)
      refused('nonce_invalid', madeQuote(rsa, Buffer.from(extraData), {}), expected(rsa));
  });

  it('refuses a signed selection that is empty, smaller or other than asked (rows 18, 83)', () => {
    const sha256 = madeValues(32);
    const sha384 = madeValues(48);
    const cases: [readonly (readonly [number, string])[], QuoteEvidence['pcrs'], PcrSelection][] = [
      [[], { sha256 }, { sha256: every }],
      [[[0x000b, '000000']], { sha256 }, { sha256: every }],
      [[[0x000b, 'feffff']], { sha256: sha256.subarray(32) }, { sha256: every }],
      [[[0x000b, 'ffffff']], { sha256 }, { sha256: every.slice(1) }],
      [[[0x000c, 'ffffff']], { sha384 }, { sha256: every }],
      [
        [
          [0x000b, 'ffffff'],
          [0x000c, 'ffffff'],
        ],
        { sha256, sha384 },
        { sha256: every },
      ],
      [
        [
          [0x000b, 'ffffff'],
          [0x000b, 'ffffff'],
        ],
        { sha256 },
        { sha256: every },
      ],
      [[[0x0012, 'ffffff']], { sha256 }, { sha256: every }],
    ];
    for (const [selection, pcrs, asked] of cases)
      refused(
        'pcr_selection',
        madeQuote(rsa, signed(), { selection, pcrs }),
        expected(rsa, { selection: asked }),
      );
  });

  it('refuses a quote without a bank that was asked (row 21)', () => {
    const selection = { sha256: every, sha384: every.slice(0, 16) };
    refused('weak_bank', madeQuote(rsa, signed()), expected(rsa, { selection }));
  });

  it('refuses PCR values that do not hash to what was signed (row 19)', () => {
    const quote = madeQuote(rsa, signed());
    const values = quote.pcrs.sha256 ?? Buffer.alloc(0);
    const flipped = Buffer.from(values);
    flipped[100] = (flipped[100] ?? 0) ^ 1;
    const long = Buffer.concat([values, Buffer.alloc(32)]);
    for (const sha256 of [flipped, long, values.subarray(32), Buffer.alloc(0)])
      refused('pcr_digest_mismatch', { ...quote, pcrs: { sha256 } }, expected(rsa));
    refused('pcr_digest_mismatch', { ...quote, pcrs: {} }, expected(rsa));
  });

  it('leaves behind the values that the signed selection does not cover (row 19)', () => {
    const all = madeValues(32);
    const odd = Buffer.concat([1, 3, 5].map((pcr) => all.subarray(32 * pcr, 32 * pcr + 32)));
    const quote = madeQuote(rsa, Buffer.of(7), { selection: [[0x000b, '2a0000']], pcrs: { sha256: odd } });
    const wanted = expected(rsa, { binding: { qualifyingData: '07' }, selection: null });
    const bundle = { ...quote, pcrs: { sha256: all, sha512: madeValues(64) }, carried: { sha256: 0xffffff } };
    const proof = verify(evidence(bundle), wanted);
    assert.deepEqual(proof.banks, [
      { bank: 'sha256', mask: 0x2a, values: odd, pcrDigest: hash('sha256', odd, 'hex') },
    ]);
    refused('pcr_digest_mismatch', { ...bundle, carried: { sha256: 0xfffffe } }, wanted);
    refused('pcr_digest_mismatch', { ...bundle, carried: { sha256: 0 } }, wanted);
  });

  it('appraises only what a verified signature covers, beside a forged list of another bank (row 20)', () => {
    const sha384 = madeValues(48);
    const quote = madeQuote(rsa, signed(), { selection: [[0x000c, allPcrs]], pcrs: { sha384 } });
    const forged = { ...quote, pcrs: { sha256: madeValues(32, 'forged'), sha384 } };
    const proof = verify(evidence(forged), expected(rsa, { selection: { sha384: every } }));
    assert.deepEqual(
      proof.banks.map(({ bank, values }) => [bank, values]),
      [['sha384', sha384]],
    );
    refused('weak_bank', forged, expected(rsa, { selection: { sha256: every, sha384: every } }));
    const second = { ...madeQuote(rsa, signed()), pcrs: { sha256: madeValues(32, 'forged') } };
    const both = expected(rsa, { selection: { sha256: every, sha384: every } });
    refused('pcr_digest_mismatch', evidence(quote, second), both);
  });

  it('refuses a quote of the SHA-1 bank alone, whatever was asked (row 21)', () => {
    const quote = madeQuote(rsa, signed(), {
      selection: [[0x0004, allPcrs]],
      pcrs: { sha1: madeValues(20) },
    });
    for (const selection of [{ sha256: every }, { sha1: every }, null])
      refused('weak_bank', quote, expected(rsa, { selection }));
  });

  it('refuses a signature of another scheme or hash than the key has (row 24)', () => {
    for (const key of [rsa, p256]) {
      const quote = madeQuote(key, signed());
      for (const [offset, id] of [
        [0, 0x0016],
        [0, 0x0005],
        [0, 0x0010],
        [2, 0x0004],
        [2, 0x000c],
      ] as const) {
        const signature = Buffer.from(quote.signature);
        signature.writeUInt16BE(id, offset);
        refused('sig_invalid', { ...quote, signature }, expected(key));
      }
    }
    refused('sig_invalid', { ...madeQuote(p256, signed()), signature: tpmSign(rsa, nonce) }, expected(p256));
  });

  it('refuses r and s out of range (row 24)', () => {
    const quote = madeQuote(p256, signed());
    const order = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex');
    const one = Buffer.of(1);
    for (const bad of [Buffer.alloc(0), Buffer.alloc(32), order, Buffer.alloc(32, 0xff), Buffer.alloc(33, 1)])
      for (const [r, s] of [
        [bad, one],
        [one, bad],
      ] as const)
        refused('sig_invalid', { ...quote, signature: ecdsaSignature(r, s) }, expected(p256));
  });

  it('refuses bytes that trail a signature or an attestation (row 24)', () => {
    for (const key of [rsa, p256]) {
      const quote = madeQuote(key, signed());
      const trailing = Buffer.concat([quote.signature, Buffer.of(0)]);
      refused('malformed', { ...quote, signature: trailing }, expected(key));
      const attest = Buffer.concat([quote.attest, Buffer.of(0)]);
      refused('malformed', { ...quote, attest, signature: tpmSign(key, attest) }, expected(key));
    }
  });

  it('refuses any structure cut short, or with a length inflated, although its signature is good (row 25)', () => {
    const quote = madeQuote(p256, signed());
    for (let size = 6; size < quote.attest.length; size++) {
      const attest = quote.attest.subarray(0, size);
      refused('malformed', { ...quote, attest, signature: tpmSign(p256, attest) }, expected(p256));
    }
    for (let size = 4; size < quote.signature.length; size++)
      refused('malformed', { ...quote, signature: quote.signature.subarray(0, size) }, expected(p256));
    const sizes = [6, 42, 101, 112];
    for (const offset of sizes) {
      const attest = Buffer.from(quote.attest);
      attest.writeUInt16BE(0xffff, offset);
      refused('malformed', { ...quote, attest, signature: tpmSign(p256, attest) }, expected(p256));
    }
  });

  it('refuses a changed bit anywhere in what was signed', () => {
    const quote = madeQuote(p256, signed());
    for (let offset = 0; offset < quote.attest.length; offset += 5) {
      const attest = Buffer.from(quote.attest);
      attest[offset] = (attest[offset] ?? 0) ^ 0x10;
      assert.throws(() => verify(evidence({ ...quote, attest }), expected(p256)), { name: 'Rejection' });
    }
    const attest = Buffer.from(quote.attest);
    attest[90] = (attest[90] ?? 0) ^ 1;
    refused('sig_invalid', { ...quote, attest }, expected(p256));
  });

  it('refuses a key that is primary in another hierarchy, where the hierarchy is judged (row 97)', () => {
    for (const name of otherQualifiedNames(akOf(p256))) {
      const quote = madeQuote(p256, signed(), { qualifiedSigner: Buffer.from(name, 'hex') });
      refused('ak_hierarchy', quote, expected(p256));
      verify(evidence(quote), expected(p256, { judgeHierarchy: false }));
    }
  });

  it('refuses a key that signs SHA-1 digests, but says weak_bank first where only that bank is quoted', () => {
    const weak = checkAttestationKey(madeArea('p256', p256.publicKey, { schemeHash: 0x0004 }));
    const wanted = expected(p256, { ak: weak, judgeHierarchy: false, selection: null });
    const quoted = (bank: number, pcrs: QuoteEvidence['pcrs'], values: Buffer) => {
      const pcrDigest = createHash('sha1').update(values).digest();
      const quote = madeQuote(p256, signed(), { selection: [[bank, allPcrs]], pcrs, pcrDigest });
      return { ...quote, signature: tpmSign(p256, quote.attest, 'sha1') };
    };
    refused('weak_key', quoted(0x000b, { sha256: madeValues(32) }, madeValues(32)), wanted);
    refused('weak_bank', quoted(0x0004, { sha1: madeValues(20) }, madeValues(20)), wanted);
  });

  it('refuses evidence without a quote, with too many, and of two boots', () => {
    refused('malformed', evidence(), expected(p256));
    const quote = madeQuote(p256, signed());
    refused('too_large', evidence(quote, quote, quote, quote, quote), expected(p256));
    refused('pcr_selection', evidence(quote, quote), expected(p256));
    const later = madeQuote(p256, signed(), {
      resetCount: 8,
      selection: [[0x000c, allPcrs]],
      pcrs: { sha384: madeValues(48) },
    });
    const both = { sha256: every, sha384: every };
    refused('boot_correlation', evidence(quote, later), expected(p256, { selection: both }));
  });
});
