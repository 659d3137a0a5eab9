import assert from 'node:assert/strict';
import { generateKeyPairSync, sign, verify } from 'node:crypto';
import { describe, it } from 'mocha';
import { curveById } from '../../../../attest-server/verify/tpm/algorithms.ts';
import { parseSignature } from '../../../../attest-server/verify/tpm/signature.ts';
import { ecdsaSignature } from '../software-key.ts';

describe('parseSignature', () => {
  for (const [id, name, bytes] of [
    [0x0003, 'P-256', 32],
    [0x0004, 'P-384', 48],
    [0x0005, 'P-521', 66],
  ] as const)
    it(`gives node:crypto what it verifies, with leading zeros and without, ${name}`, () => {
      const curve = curveById(id)!;
      assert.equal(curve.order.length, bytes);
      const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: name });
      // Every 256th number begins with a zero byte, every other one with a set bit.
      for (let round = 0; round < 300; round++) {
        const data = Buffer.from(`round ${round}`);
        const raw = sign('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' });
        const [r, s] = [raw.subarray(0, bytes), raw.subarray(bytes)];
        for (const signature of [ecdsaSignature(r, s), ecdsaSignature(bare(r), bare(s))]) {
          const der = parseSignature(signature, { scheme: 'ecdsa', hash: 'sha256', curve, bytes });
          assert.equal(verify('sha256', data, publicKey, der), true);
        }
      }
    });

  it('encodes numbers of one byte, and takes the order less one but not the order', () => {
    const curve = curveById(0x0005)!;
    const key = { scheme: 'ecdsa', hash: 'sha256', curve, bytes: 66 } as const;
    const small = parseSignature(ecdsaSignature(Buffer.of(1), Buffer.of(0x80)), key);
    assert.equal(small.toString('hex'), '300702010102020080');
    const largest = Buffer.from(curve.order);
    largest[65] = (largest[65] ?? 0) - 1;
    parseSignature(ecdsaSignature(largest, largest), key);
    const order = ecdsaSignature(curve.order, Buffer.of(1));
    assert.throws(() => parseSignature(order, key), { code: 'sig_invalid', field: 'signatureR' });
  });
});

function bare(number: Buffer): Buffer {
  return number.subarray(number.findIndex((byte) => byte !== 0));
}
