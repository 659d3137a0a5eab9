import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'mocha';
import { checkAttestationKey, checkTemplate } from '../../../attest-server/verify/attestation-key.ts';
import {
  type AreaOptions,
  akAttributes,
  type KeyKind,
  madeArea,
  sized,
  softwareKey,
} from './software-key.ts';

const keys = { rsa2048: softwareKey('rsa2048'), p256: softwareKey('p256'), p384: softwareKey('p384') };
const bit = (n: number) => 1 << n;

function area(kind: keyof typeof keys, options: AreaOptions = {}): Buffer {
  return madeArea(kind, keys[kind].publicKey, options);
}

describe('checkAttestationKey', () => {
  for (const kind of ['rsa2048', 'p256', 'p384'] as const)
    it(`takes a restricted signing key and computes its names, ${kind}`, () => {
      const bytes = area(kind);
      const ak = checkAttestationKey(bytes);
      const name = `000b${createHash('sha256').update(bytes).digest('hex')}`;
      assert.equal(ak.name, name);
      assert.equal(checkAttestationKey(bytes, name.toUpperCase()).name, name);
      const qualified = createHash('sha256')
        .update(Buffer.from(`4000000b${name}`, 'hex'))
        .digest('hex');
      assert.equal(ak.qualifiedName, `000b${qualified}`);
      assert.equal(ak.hash, 'sha256');
      assert.equal(ak.key.equals(keys[kind].publicKey), true);
    });

  it('takes a TPM2B_PUBLIC for the TPMT_PUBLIC in it', () => {
    assert.equal(checkAttestationKey(sized(area('p256'))).name, checkAttestationKey(area('p256')).name);
  });

  it('refuses a name that is not the public area’s (row 3)', () => {
    const { name } = checkAttestationKey(area('p384'));
    for (const claimed of [name, '', name.slice(4), `000c${name.slice(4)}`])
      assert.throws(() => checkAttestationKey(area('p256'), claimed), { code: 'ak_name_mismatch' });
  });

  const attributes: [string, number][] = [
    ['not restricted', akAttributes & ~bit(16)],
    ['not fixedTPM', akAttributes & ~bit(1)],
    ['not fixedParent', akAttributes & ~bit(4)],
    ['not sensitiveDataOrigin', akAttributes & ~bit(5)],
    ['not sign', akAttributes & ~bit(18)],
    ['decrypt', akAttributes | bit(17)],
    ['nothing at all', 0],
  ];
  for (const [what, value] of attributes)
    it(`refuses a key that is ${what} (rows 4, 5)`, () => {
      for (const kind of ['rsa2048', 'p256'] as const)
        assert.throws(() => checkAttestationKey(area(kind, { attributes: value })), {
          code: 'ak_attributes',
        });
    });

  it('refuses a key without a scheme of its own, or with one for another type of key', () => {
    assert.throws(() => checkAttestationKey(area('p256', { scheme: 0x0010 })), { code: 'ak_attributes' });
    assert.throws(() => checkAttestationKey(area('p256', { scheme: 0x0014 })), { code: 'ak_attributes' });
    assert.throws(() => checkAttestationKey(area('rsa2048', { scheme: 0x0018 })), { code: 'ak_attributes' });
  });

  const weak: [string, KeyKind, AreaOptions][] = [
    ['a SHA-1 name', 'p256', { nameAlg: 0x0004 }],
    ['no name algorithm', 'p256', { nameAlg: 0x0010 }],
    ['an unknown curve', 'p256', { curve: 0x0010 }],
    ['curve P-192', 'p256', { curve: 0x0001 }],
    ['curve SM2', 'p256', { curve: 0x0020 }],
    ['RSA-1024', 'rsa1024', {}],
  ];
  for (const [what, kind, options] of weak)
    it(`refuses a key with ${what} (row 12)`, () => {
      assert.throws(() => checkAttestationKey(softwareKey(kind, options).publicArea), { code: 'weak_key' });
    });

  it('refuses an RSA exponent with which anyone could sign (row 12)', () => {
    for (const exponent of [1, 2, 3, 65536]) {
      const bytes = area('rsa2048');
      bytes.writeUInt32BE(exponent, bytes.length - 256 - 2 - 4);
      assert.throws(() => checkAttestationKey(bytes), { code: 'weak_key' });
    }
  });

  it('refuses an even RSA modulus, which anyone can factor, and OpenSSL does not encrypt with (row 12)', () => {
    const bytes = area('rsa2048');
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) & 0xfe;
    assert.throws(() => checkAttestationKey(bytes), { code: 'weak_key', field: 'unique.rsa' });
  });

  it('refuses a point that is not on its curve, a modulus of another size, and a key of another type', () => {
    const point = area('p256');
    point[point.length - 1] = (point.at(-1) ?? 0) ^ 1;
    assert.throws(() => checkAttestationKey(point), { code: 'malformed' });
    const modulus = area('rsa2048');
    modulus[modulus.length - 256] = 0;
    assert.throws(() => checkAttestationKey(modulus), { code: 'malformed' });
    const hmac = Buffer.from('0008000b00050472000000050004000b0000', 'hex');
    assert.throws(() => checkAttestationKey(hmac), { code: 'malformed' });
  });

  it('refuses a public area cut short, continued, or with a length inflated (row 25)', () => {
    for (const kind of ['rsa2048', 'p256'] as const) {
      const bytes = area(kind);
      for (let size = 0; size < bytes.length; size++)
        assert.throws(() => checkAttestationKey(bytes.subarray(0, size)), { name: 'Rejection' });
      assert.throws(() => checkAttestationKey(Buffer.concat([bytes, Buffer.of(0)])), { code: 'malformed' });
      const inflated = Buffer.from(bytes);
      inflated.writeUInt16BE(0xffff, 8);
      assert.throws(() => checkAttestationKey(inflated), { code: 'malformed' });
    }
  });
});

describe('checkTemplate', () => {
  const checked = (options: AreaOptions = {}) => checkTemplate(checkAttestationKey(area('p256', options)));

  it('takes a key of our template', () => assert.doesNotThrow(() => checked()));

  for (const [what, attributes] of [
    ['could be activated by a policy', akAttributes | bit(7)],
    ['needs no authorisation value', akAttributes & ~bit(6)],
    ['is locked by power losses', akAttributes & ~bit(10)],
  ] as const)
    it(`refuses a key that ${what}`, () => {
      assert.throws(() => checked({ attributes }), { code: 'ak_attributes' });
    });
});
