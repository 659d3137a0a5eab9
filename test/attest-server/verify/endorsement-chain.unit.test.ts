import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { checkEndorsementChain, trustRoots } from '../../../attest-server/verify/endorsement-chain.ts';
import { parseCertificate } from '../../../attest-server/verify/x509/certificate.ts';
import {
  basicConstraints,
  extension,
  keyUsage,
  madeAuthority,
  madeCertificate,
  madeEkCertificate,
  signer,
  usage,
} from './made-certificate.ts';

const at = Date.parse('2026-11-25T00:00:00Z');
const parse = (der: Buffer) => parseCertificate(der, 'certificate');
const [root, middle, low, tpm] = ['Root', 'Middle', 'Low', 'TPM'].map(signer) as [
  ReturnType<typeof signer>,
  ReturnType<typeof signer>,
  ReturnType<typeof signer>,
  ReturnType<typeof signer>,
];
const chip = { manufacturer: 'id:49465800', model: 'SLB 9670' };
const rootDer = madeAuthority(root);
const ek = madeEkCertificate(middle, tpm.publicKey, chip);

/** The subjects of the path, or the code of the refusal. */
function pathOf(
  leaf: Buffer,
  sent: readonly Buffer[],
  roots: readonly Buffer[] = [rootDer],
  intermediates: readonly Buffer[] = [],
): string {
  const trust = trustRoots(roots.map(parse), intermediates.map(parse));
  try {
    const path = checkEndorsementChain(parse(leaf), sent.map(parse), trust, at);
    return path.map(({ subject }) => subject.slice('CN='.length)).join(' < ');
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}

describe('the path of an endorsement certificate', () => {
  const middleDer = madeAuthority(middle, root);

  it('leads over the authorities sent and the configured ones to a configured root', () => {
    assert.equal(pathOf(ek, [middleDer]), ' < Middle < Root');
    assert.equal(pathOf(ek, [], [rootDer], [middleDer]), ' < Middle < Root');
    assert.equal(pathOf(madeEkCertificate(root, tpm.publicKey, chip), []), ' < Root');
    const lowEk = madeEkCertificate(low, tpm.publicKey, chip);
    assert.equal(
      pathOf(lowEk, [madeAuthority(low, middle)], [rootDer], [middleDer]),
      ' < Low < Middle < Root',
    );
  });

  it('is not there without the root, without a link, or where the root is only sent', () => {
    assert.equal(pathOf(ek, [middleDer], []), 'ek_untrusted_root');
    assert.equal(pathOf(ek, []), 'ek_untrusted_root');
    assert.equal(pathOf(ek, [middleDer, rootDer], [madeAuthority(signer('Other'))]), 'ek_untrusted_root');
  });

  it('takes a root by its name and key, not by its file, and none that only has the name', () => {
    const again = madeAuthority(root, root, [basicConstraints(), keyUsage(0x06)]);
    assert.equal(pathOf(ek, [middleDer], [again]), ' < Middle < Root');
    assert.equal(pathOf(ek, [middleDer, rootDer], [madeAuthority(signer('Root'))]), 'ek_untrusted_root');
    assert.equal(pathOf(ek, [middleDer], [madeAuthority(signer('Root')), rootDer]), ' < Middle < Root');
  });

  it('goes back from an authority that leads nowhere', () => {
    const stray = madeAuthority(middle, signer('Nobody'));
    assert.equal(pathOf(ek, [stray, middleDer]), ' < Middle < Root');
  });

  const badAuthorities: readonly (readonly [string, readonly Buffer[]])[] = [
    ['that is no authority', [basicConstraints(false)]],
    ['that does not say that it is one', []],
    ['that may not sign certificates', [basicConstraints(), keyUsage(0x80)]],
    ['for attestation keys', [basicConstraints(), usage('6781050803')]],
    [
      'with a critical extension that nobody knows',
      [basicConstraints(), extension('2a03', Buffer.alloc(2), true)],
    ],
    [
      'with name constraints, which are not judged here',
      [basicConstraints(), extension('551d1e', Buffer.alloc(2), true)],
    ],
  ];
  for (const [what, extensions] of badAuthorities)
    it(`does not lead over an authority ${what}`, () => {
      assert.equal(pathOf(ek, [madeAuthority(middle, root, extensions)]), 'ek_untrusted_root');
    });

  it('keeps to the length that an authority allows', () => {
    const lowEk = madeEkCertificate(low, tpm.publicKey, chip);
    const short = madeAuthority(middle, root, [basicConstraints(true, 0)]);
    assert.equal(pathOf(ek, [short]), ' < Middle < Root');
    assert.equal(pathOf(lowEk, [madeAuthority(low, middle), short]), 'ek_untrusted_root');
  });

  it('wants the use of endorsement where a certificate names uses, at that moment', () => {
    const leaf = (extensions: readonly Buffer[], more: object = {}) =>
      madeCertificate(root, { publicKey: tpm.publicKey, extensions, ...more });
    assert.equal(pathOf(leaf([]), []), ' < Root');
    assert.equal(pathOf(leaf([usage('6781050803')]), []), 'ek_untrusted_root');
    assert.equal(pathOf(leaf([usage('2b06010505070302')]), []), 'ek_untrusted_root');
    assert.equal(pathOf(leaf([], { notAfter: '20260101000000Z' }), []), 'ek_untrusted_root');
    assert.equal(pathOf(leaf([], { notBefore: '20270101000000Z' }), []), 'ek_untrusted_root');
  });

  it('does not take a changed certificate', () => {
    for (const index of [40, ek.length - 1]) {
      const changed = Buffer.from(ek);
      changed[index] = changed[index]! ^ 1;
      assert.notEqual(pathOf(changed, [middleDer]), ' < Middle < Root');
    }
  });

  it('ends, and soon, on authorities that lead in circles or are too many', () => {
    const circle = [madeAuthority(middle, low), madeAuthority(low, middle)];
    assert.equal(pathOf(ek, circle), 'ek_untrusted_root');
    const many = Array.from({ length: 8 }, () => madeAuthority(middle, signer('Middle')));
    assert.equal(pathOf(ek, many), 'ek_untrusted_root');
    assert.equal(pathOf(ek, [...many, middleDer]), 'malformed');
    const ladder = Array.from({ length: 8 }, (_, index) => signer(`Step ${index}`));
    const steps = ladder.map((step, index) => madeAuthority(step, ladder[index + 1] ?? root));
    assert.equal(pathOf(madeEkCertificate(ladder[0]!, tpm.publicKey, chip), steps), 'ek_untrusted_root');
  });
});

describe('the reading of a certificate', () => {
  it('says where in the DER it failed', () => {
    const good = madeAuthority(root);
    const at = good.indexOf(Buffer.from('20200101000000Z')) - 2;
    const offsetOf = (change: (bytes: Buffer) => Buffer) => {
      try {
        parse(change(Buffer.from(good)));
        return null;
      } catch (error) {
        return error instanceof Error && 'offset' in error ? error.offset : error;
      }
    };
    assert.equal(
      offsetOf((bytes) => bytes),
      null,
    );
    assert.equal(
      offsetOf((bytes) => bytes.fill('x', at + 2, at + 4)),
      at,
    );
    assert.equal(
      offsetOf((bytes) => bytes.fill(0x05, at, at + 1)),
      at,
    );
    assert.equal(
      offsetOf((bytes) => bytes.fill(0x84, 1, 2)),
      1,
    );
    assert.equal(
      offsetOf((bytes) => Buffer.concat([bytes, Buffer.of(0)])),
      good.length,
    );
    assert.equal(
      offsetOf((bytes) => bytes.subarray(0, 100)),
      0,
    );
  });

  it('refuses an extension that occurs twice', () => {
    const twice = madeAuthority(root, root, [basicConstraints(false), basicConstraints(true)]);
    assert.throws(() => parse(twice), { code: 'malformed', field: 'extnID' });
  });
});
