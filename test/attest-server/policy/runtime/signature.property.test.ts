import assert from 'node:assert/strict';
import { generateKeyPairSync, hash, sign } from 'node:crypto';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { ecdsaVerifier } from '../../../../attest-server/policy/runtime/ecdsa.ts';
import { rsaVerifier } from '../../../../attest-server/policy/runtime/rsa.ts';
import { signedBy } from '../../../../attest-server/policy/runtime/signature.ts';
import { prepareSigners } from '../../../../attest-server/policy/runtime/signer-keys.ts';
import { trials } from '../../../trials.ts';
import { appendedEntry, entryOf, signatures, signedEntry } from './recorded-signatures.ts';

const algorithm = fc.constantFrom('sha256', 'sha384', 'sha512');
const pairs = [
  ...['P-256', 'P-384', 'P-521'].map((namedCurve) => generateKeyPairSync('ec', { namedCurve })),
  ...[2048, 3072].map((modulusLength) => generateKeyPairSync('rsa', { modulusLength })),
].map(({ publicKey, privateKey }) => ({
  kind: publicKey.asymmetricKeyType,
  verify: publicKey.asymmetricKeyType === 'rsa' ? rsaVerifier(publicKey) : ecdsaVerifier(publicKey),
  privateKey,
}));

describe('the verifying of a digest', () => {
  it('says yes to what Node.js signs, and no to another text, another key and another signature', () => {
    fc.assert(
      fc.property(fc.constantFrom(...pairs), algorithm, fc.uint8Array(), fc.nat(), (pair, by, text, at) => {
        const digest = hash(by, text, 'buffer');
        const signature = sign(by, text, pair.privateKey);
        assert.equal(pair.verify(by, digest, signature), true);
        assert.equal(pair.verify(by, hash(by, digest, 'buffer'), signature), false);
        const other = pairs.find((one) => one !== pair && one.kind === pair.kind);
        assert.ok(other);
        assert.equal(other.verify(by, digest, signature), false);
        const changed = Buffer.from(signature);
        const place = at % changed.length;
        changed.writeUInt8(changed.readUInt8(place) ^ (1 + (at % 255)), place);
        assert.equal(pair.verify(by, digest, changed), false);
      }),
      { numRuns: 150 },
    );
  });

  it('says no to any other bytes, and ends', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...pairs),
        algorithm,
        fc.uint8Array({ maxLength: 520 }),
        (pair, by, bytes) => {
          const digest = hash(by, 'a file', 'buffer');
          assert.equal(pair.verify(by, digest, Buffer.from(bytes)), false);
        },
      ),
    );
  });
});

describe('any signature of an entry', () => {
  const keys = prepareSigners(
    Object.entries(signatures.keys).flatMap(([name, { publicKey }]) =>
      name === 'rsa1024' ? [] : [publicKey],
    ),
  );

  it('of any bytes is nobody’s', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.constantFrom('ima', 'verity'), (bytes, kind) => {
        assert.equal(signedBy(entryOf({ signature: Buffer.from(bytes), kind }), keys), null);
      }),
    );
  });

  it('that differs in one byte from a good one is nobody’s', () => {
    const good = signatures.files.filter(({ key, algorithm: by }) => key !== 'rsa1024' && by !== 'sha1');
    fc.assert(
      fc.property(withAnotherByte(good), ([file, signature]) => {
        assert.equal(signedBy({ ...signedEntry(file), signature }, keys), null);
      }),
      { numRuns: trials(30) },
    );
  });

  it('that is appended, and differs in one byte from a good one, is nobody’s or as good', () => {
    const good = signatures.appended.filter((file) => signedBy(appendedEntry(file), keys) !== null);
    assert.equal(good.length, 8);
    fc.assert(
      fc.property(withAnotherByte(good), ([file, signature]) => {
        const before = signedBy(appendedEntry(file), keys);
        const after = signedBy(appendedEntry({ ...file, signature }), keys);
        // A version, or the name of whoever signed, is not signed.
        assert.ok(after === null || after === before);
        assert.equal(signedBy(appendedEntry({ ...file, signature, digest: Buffer.alloc(32) }), keys), null);
      }),
      { numRuns: 200 },
    );
  });
});

/** One of these, and its signature with one byte that is another. */
function withAnotherByte<File extends { readonly signature: Buffer }>(files: readonly File[]) {
  return fc
    .tuple(fc.constantFrom(...files), fc.nat(), fc.integer({ min: 1, max: 255 }))
    .map(([file, at, change]) => {
      const signature = Buffer.from(file.signature);
      const place = at % signature.length;
      signature.writeUInt8(signature.readUInt8(place) ^ change, place);
      return [file, signature] as const;
    });
}
