import assert from 'node:assert/strict';
import { createECDH, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import {
  decryptVolumeKey,
  encryptVolumeKey,
  type ReleaseContext,
} from '../../../attest-server/wire/key-derivation.ts';
import {
  type KeyRelease,
  keyReleaseFrame,
  keyReleaseKind,
  parseKeyRelease,
} from '../../../attest-server/wire/key-release.ts';
import { keyAgreementCurve, keyRequestOf, parseKeyRequest } from '../../../attest-server/wire/key-request.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';
import { madeKeyRelease, madeKeyRequest } from './made-keys.ts';

const malformed = { name: 'Rejection', code: 'malformed' };

describe('a request for the key of a volume', () => {
  it('comes back as it was written', () => {
    assert.deepEqual(parseKeyRequest(keyRequestOf(madeKeyRequest())), madeKeyRequest());
  });

  const offCurve = Buffer.from(madeKeyRequest().ephemeral);
  offCurve.writeUInt8(offCurve.readUInt8(64) ^ 1, 64);
  for (const [what, change] of [
    ['a point beside the curve', { ephemeral: offCurve }],
    ['the point at infinity', { ephemeral: Buffer.of(0) }],
    ['a volume in capitals', { volume: madeKeyRequest().volume.toUpperCase() }],
    ['a path for a volume', { volume: '/dev/sda1' }],
  ] as const)
    it(`is not one with ${what}`, () => {
      assert.throws(() => keyRequestOf({ ...madeKeyRequest(), ...change }), malformed);
    });

  it('has one form: a change of any byte is another request, or none', () => {
    const bytes = keyRequestOf(madeKeyRequest());
    for (const at of bytes.keys()) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
      const parsed = valueOrNull(() => parseKeyRequest(changed));
      if (parsed !== null) assert.deepEqual(keyRequestOf(parsed), changed);
    }
  });
});

describe('the release of a key', () => {
  const payload = keyReleaseFrame(madeKeyRelease()).subarray(1);

  it('comes back as it was written, in a frame of its own kind', () => {
    assert.equal(keyReleaseFrame(madeKeyRelease())[0], keyReleaseKind);
    assert.deepEqual(parseKeyRelease(payload), madeKeyRelease());
  });

  it('is none where it is cut, or goes on', () => {
    for (const length of payload.keys())
      assert.throws(() => parseKeyRelease(payload.subarray(0, length)), malformed);
    assert.throws(() => parseKeyRelease(Buffer.concat([payload, Buffer.of(0)])), malformed);
    assert.throws(() => parseKeyRelease(Buffer.alloc(4097)), { code: 'too_large' });
  });

  for (const [what, change] of [
    ['no PCRs', { selection: {} }],
    ['a bank without PCRs', { selection: { sha256: [] } }],
    ['no header', { expectedHeaders: [] }],
    ['two headers, and a key for one', { ciphertext: Buffer.alloc(48) }],
    ['a recovery passphrase beside a header', { ciphertext: Buffer.alloc(95) }],
    ['three headers', { expectedHeaders: ['00', '01', '02'].map((byte) => byte.repeat(32)) }],
    ['an object that says another size', { importSeed: Buffer.from('000206', 'hex') }],
    ['a key of another length', { ciphertext: Buffer.alloc(47) }],
  ] as const satisfies readonly (readonly [string, Partial<KeyRelease>])[])
    it(`is neither written nor read with ${what}`, () => {
      assert.throws(() => keyReleaseFrame({ ...madeKeyRelease(), ...change }), malformed);
    });

  it('is a value or a Rejection, whatever the bytes are; a value is written as it was read', () => {
    const place = fc.nat({ max: payload.length - 1 });
    const changes = fc.array(fc.tuple(place, fc.nat({ max: 255 })), { maxLength: 4 });
    const inputs = fc.oneof(
      fc.uint8Array({ maxLength: 5000 }).map((bytes) => Buffer.from(bytes)),
      changes.map((list) => {
        const bytes = Buffer.from(payload);
        for (const [at, byte] of list) bytes.writeUInt8(byte, at);
        return bytes;
      }),
    );
    fc.assert(
      fc.property(inputs, (bytes) => {
        const parsed = valueOrNull(() => parseKeyRelease(bytes));
        if (parsed !== null) assert.deepEqual(keyReleaseFrame(parsed).subarray(1), bytes);
      }),
    );
  });
});

describe('the key of a volume on its way', () => {
  const server = createECDH(keyAgreementCurve);
  const node = createECDH(keyAgreementCurve);
  server.generateKeys();
  node.generateKeys();
  const nonce = randomBytes(32);
  const sealed = randomBytes(32);
  const key = randomBytes(32);
  const context: ReleaseContext = {
    ekDigest: 'ab'.repeat(32),
    node: 'node-1',
    volume: madeKeyRequest().volume,
    leaseId: madeKeyRelease().leaseId,
    resetCount: 7,
    keyRequest: keyRequestOf({ volume: madeKeyRequest().volume, ephemeral: node.getPublicKey() }),
  };
  const encrypted = encryptVolumeKey({ sealed, own: server, peer: node.getPublicKey(), nonce }, context, key);
  const received = { sealed, own: node, peer: server.getPublicKey(), nonce };

  it('is what it was, for the one who has both secrets', () => {
    assert.deepEqual(decryptVolumeKey(received, context, encrypted), key);
  });

  const other = createECDH(keyAgreementCurve);
  other.generateKeys();
  for (const [what, secrets] of [
    ['what the TPM unseals', { sealed: Buffer.alloc(32) }],
    ['the private key of the request', { own: other }],
    ['the nonce', { nonce: Buffer.alloc(32) }],
  ] as const)
    it(`is nothing without ${what}`, () => {
      assert.throws(() => decryptVolumeKey({ ...received, ...secrets }, context, encrypted), malformed);
    });

  for (const change of [
    { ekDigest: 'cd'.repeat(32) },
    { node: 'node-2' },
    { volume: '00000000-0000-4000-8000-000000000000' },
    { leaseId: '00'.repeat(16) },
    { resetCount: 8 },
    { keyRequest: keyRequestOf(madeKeyRequest()) },
  ] satisfies Partial<ReleaseContext>[])
    it(`is for one ${Object.keys(change)[0]} alone`, () => {
      assert.throws(() => decryptVolumeKey(received, { ...context, ...change }, encrypted), malformed);
    });

  it('is not taken where a bit of it was changed', () => {
    for (const at of encrypted.keys()) {
      const changed = Buffer.from(encrypted);
      changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
      assert.throws(() => decryptVolumeKey(received, context, changed), malformed);
    }
  });
});

/** Null where it is refused by a Rejection; any other error goes on. */
function valueOrNull<T>(parse: () => T): T | null {
  try {
    return parse();
  } catch (error) {
    if (error instanceof Rejection) return null;
    throw error;
  }
}
