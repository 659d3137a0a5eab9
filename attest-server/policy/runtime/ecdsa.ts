import { createECDH, createPublicKey, hash, type KeyObject, verify } from 'node:crypto';
import type { DigestVerifier } from './digest-verifier.ts';

/**
 * Says whether an ECDSA signature is over a digest whose bytes nobody has here; Node.js verifies signatures over bytes alone.
 * (r, s) is right for the digest e and the key Q exactly if it is right for another digest f and the key
 * Q + (e - f)/r · G: in both, the point that is compared with r is (e·G + r·Q)/s. So a text of ours is verified by that key.
 * @throws RangeError for a key that is not over one of the curves
 */
export function ecdsaVerifier(key: KeyObject): DigestVerifier {
  const name = key.asymmetricKeyDetails?.namedCurve ?? '';
  const curve = curves[name];
  if (curve === undefined) throw new RangeError(`there is no curve ${name} here`);
  const { x = '', y = '' } = key.export({ format: 'jwk' });
  const point = { x: numberOf(Buffer.from(x, 'base64url')), y: numberOf(Buffer.from(y, 'base64url')) };
  const dsaEncoding = 'ieee-p1363';
  return (_algorithm, digest, signature) => {
    const pair = parseSignature(signature, curve.bytes);
    if (pair === null) return false;
    const r = numberOf(pair.subarray(0, curve.bytes));
    const difference = truncated(digest, curve) - ourDigest;
    const factor = modulo(difference * inverse(r, curve.order), curve.order);
    const moved = factor === 0n ? key : movedKey(point, multipleOf(factor, name, curve), curve);
    return moved !== null && verify('sha256', ourText, { key: moved, dsaEncoding }, pair);
  };
}

/** @param name as OpenSSL calls it */
export function isCurve(name: string): boolean {
  return Object.hasOwn(curves, name);
}

const ourText = Buffer.from('assay');
/** 256 bit, which no curve here cuts. */
const ourDigest = numberOf(hash('sha256', ourText, 'buffer'));

interface CurveParameters {
  readonly jwk: string;
  /** The size of a coordinate, and of r and s. */
  readonly bytes: number;
  readonly bits: number;
  readonly prime: bigint;
  readonly order: bigint;
}

/** SEC 2, version 2, sections 2.4.2, 2.5.1 and 2.6.1. */
const curves: Readonly<Record<string, CurveParameters>> = {
  prime256v1: {
    jwk: 'P-256',
    bytes: 32,
    bits: 256,
    prime: 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n,
    order: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
  },
  secp384r1: {
    jwk: 'P-384',
    bytes: 48,
    bits: 384,
    prime: 2n ** 384n - 2n ** 128n - 2n ** 96n + 2n ** 32n - 1n,
    order:
      0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n,
  },
  secp521r1: {
    jwk: 'P-521',
    bytes: 66,
    bits: 521,
    prime: 2n ** 521n - 1n,
    order: 2n ** 521n - 2n ** 264n + 0xfa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409n,
  },
};

/** The leftmost bits of a digest. FIPS 186-5, section 6.4.2. */
function truncated(digest: Buffer, { bits }: CurveParameters): bigint {
  const excess = digest.length * 8 - bits;
  return excess > 0 ? numberOf(digest) >> BigInt(excess) : numberOf(digest);
}

interface CurvePoint {
  readonly x: bigint;
  readonly y: bigint;
}

/** A multiple of the curve's base point. */
function multipleOf(factor: bigint, name: string, { bytes }: CurveParameters): CurvePoint {
  const ecdh = createECDH(name);
  ecdh.setPrivateKey(bytesOf(factor, bytes));
  const point = ecdh.getPublicKey();
  return { x: numberOf(point.subarray(1, 1 + bytes)), y: numberOf(point.subarray(1 + bytes)) };
}

/** The sum of two points as a key; null if they lie on one line with zero, which nobody finds who has not the private key. */
function movedKey(
  a: CurvePoint,
  b: CurvePoint,
  { jwk: crv, bytes, prime }: CurveParameters,
): KeyObject | null {
  if (a.x === b.x) return null;
  const slope = modulo((b.y - a.y) * inverse(modulo(b.x - a.x, prime), prime), prime);
  const x = modulo(slope * slope - a.x - b.x, prime);
  const y = modulo(slope * (a.x - x) - a.y, prime);
  const coordinate = (one: bigint) => bytesOf(one, bytes).toString('base64url');
  return createPublicKey({ key: { kty: 'EC', crv, x: coordinate(x), y: coordinate(y) }, format: 'jwk' });
}

/**
 * r and s, each in so many bytes, of SEQUENCE { INTEGER, INTEGER } in DER; null for anything else. Attack: two readers of
 * one signature that find another r: whoever made them differ could sign anything. Only what is read here is verified.
 */
function parseSignature(der: Buffer, bytes: number): Buffer | null {
  const long = der[1] === 0x81 ? 1 : 0;
  const length = der[1 + long] ?? 0;
  if (der[0] !== 0x30 || length !== der.length - 2 - long || (long === 1) !== length > 0x7f) return null;
  const pair = Buffer.alloc(2 * bytes);
  let at = 2 + long;
  for (const end of [bytes, 2 * bytes]) {
    const size = der[at + 1] ?? 0;
    const number = der.subarray(at + 2, at + 2 + size);
    if (der[at] !== 0x02 || size === 0 || number.length !== size) return null;
    const [first = 0, second = 0] = number;
    // Neither negative nor with a zero too many.
    if (first > 0x7f || (first === 0 && size > 1 && second < 0x80)) return null;
    const magnitude = first === 0 ? number.subarray(1) : number;
    if (magnitude.length > bytes) return null;
    magnitude.copy(pair, end - magnitude.length);
    at += 2 + size;
  }
  return at === der.length ? pair : null;
}

function numberOf(bytes: Buffer): bigint {
  return BigInt(`0x${bytes.toString('hex') || '0'}`);
}

function bytesOf(number: bigint, bytes: number): Buffer {
  return Buffer.from(number.toString(16).padStart(2 * bytes, '0'), 'hex');
}

function modulo(number: bigint, by: bigint): bigint {
  const rest = number % by;
  return rest < 0n ? rest + by : rest;
}

/** By Euclid's algorithm; `by` is a prime. Of 0 it is 0: OpenSSL refuses an r or s that is none. */
function inverse(number: bigint, by: bigint): bigint {
  let [a, b] = [number, by];
  let [x, y] = [1n, 0n];
  while (b !== 0n) {
    const quotient = a / b;
    [a, b] = [b, a - quotient * b];
    [x, y] = [y, x - quotient * y];
  }
  return modulo(x, by);
}
