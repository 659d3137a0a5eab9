import assert from 'node:assert/strict';
import { generateKeyPairSync, hash, sign } from 'node:crypto';
import { describe, it } from 'mocha';
import { ecdsaVerifier } from '../../../../attest-server/policy/runtime/ecdsa.ts';

const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const verify = ecdsaVerifier(publicKey);
const text = Buffer.from('what a program holds');
const digest = hash('sha256', text, 'buffer');
const order = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex');

/** r and s of a good signature that have their first bit unset, so that DER writes them in 32 bytes each. */
const [r, s] = plainPair();

describe('an ECDSA signature over a digest', () => {
  const good = sequence(integer(r), integer(s));

  it('is right as DER writes it', () => assert.equal(verify('sha256', digest, good), true));

  it('is right over the digest of the very text by which it is verified', () => {
    const own = hash('sha256', 'assay', 'buffer');
    const signature = sign('sha256', Buffer.from('assay'), privateKey);
    assert.equal(verify('sha256', own, signature), true);
    assert.equal(verify('sha256', own, good), false);
  });

  const zero = Buffer.of(0);
  const refused: readonly (readonly [string, Buffer])[] = [
    ['a zero too many in r', sequence(integer(Buffer.concat([zero, r])), integer(s))],
    ['a zero too many in s', sequence(integer(r), integer(Buffer.concat([zero, s])))],
    ['a negative r', sequence(integer(Buffer.concat([Buffer.of(0x80), r.subarray(1)])), integer(s))],
    ['a length in two bytes', Buffer.concat([Buffer.of(0x30, 0x81), good.subarray(1)])],
    ['a length without end', Buffer.concat([Buffer.of(0x30, 0x80), good.subarray(2), Buffer.of(0, 0)])],
    ['a length that is too great', Buffer.concat([Buffer.of(0x30, 0x7f), good.subarray(2)])],
    ['more after its end', Buffer.concat([good, zero])],
    ['more within it', sequence(integer(r), integer(s), integer(Buffer.of(1)))],
    ['no s', sequence(integer(r))],
    ['an s of no bytes', sequence(integer(r), integer(Buffer.alloc(0)))],
    ['r for s', sequence(integer(s), integer(r))],
    ['another type for r', sequence(Buffer.concat([Buffer.of(0x04, 32), r]), integer(s))],
    ['an r of 0', sequence(integer(zero), integer(s))],
    ['an s of 0', sequence(integer(r), integer(zero))],
    ['an r that is the order', sequence(integer(Buffer.concat([zero, order])), integer(s))],
    ['an s that is the order', sequence(integer(r), integer(Buffer.concat([zero, order])))],
    ['an r that is too long', sequence(integer(Buffer.concat([Buffer.of(1), r])), integer(s))],
    ['one byte', Buffer.of(0x30)],
    ['no bytes', Buffer.alloc(0)],
  ];
  for (const [what, signature] of refused)
    it(`is wrong with ${what}`, () => assert.equal(verify('sha256', digest, signature), false));
});

function plainPair(): readonly [Buffer, Buffer] {
  for (;;) {
    const pair = sign('sha256', text, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    const [first, second] = [pair.subarray(0, 32), pair.subarray(32)];
    const isPlain = [first, second].every((number) => number.readUInt8(0) > 0 && number.readUInt8(0) < 0x80);
    if (isPlain) return [first, second];
  }
}

function integer(content: Buffer): Buffer {
  return Buffer.concat([Buffer.of(0x02, content.length), content]);
}

function sequence(...members: readonly Buffer[]): Buffer {
  const content = Buffer.concat(members);
  return Buffer.concat([Buffer.of(0x30, content.length), content]);
}
