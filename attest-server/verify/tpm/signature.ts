import { Rejection } from '../../wire/rejection.ts';
import { alg, type Curve, type HashName, hashByAlg, idText } from './algorithms.ts';
import { Cursor } from './cursor.ts';
import { padded } from './public-area.ts';

export type SignatureScheme = 'rsassa' | 'rsapss' | 'ecdsa';

/** The scheme that a key signs with, and therefore the only one that is accepted of it. */
export interface SigningScheme {
  readonly scheme: SignatureScheme;
  readonly hash: HashName;
  /** The curve of an `ecdsa` key, else null. */
  readonly curve: Curve | null;
  /** The size of an RSA signature, or of r and s each, in bytes. */
  readonly bytes: number;
}

/**
 * Parses a TPMT_SIGNATURE that a key with this scheme made, and gives the bytes that node:crypto verifies: the RSA
 * signature, or the DER of an ECDSA-Sig-Value (RFC 3279; node:crypto is slower with `ieee-p1363`). TPM 2.0 Part 2 r1.59, section 11.3.4.
 * @throws Rejection `malformed`; `sig_invalid` for another scheme or hash than the key's, or r or s out of range
 */
export function parseSignature(signature: Buffer, key: SigningScheme): Buffer {
  const cursor = new Cursor(signature);
  const id = cursor.u16('sigAlg');
  const scheme = schemeById(id);
  if (scheme !== key.scheme)
    throw new Rejection(
      'sig_invalid',
      `the signature is ${scheme ?? idText(id)}, the key signs ${key.scheme}`,
      {
        field: 'sigAlg',
        offset: 0,
      },
    );
  const hashId = cursor.u16('hash');
  if (hashByAlg(hashId) !== key.hash)
    throw new Rejection(
      'sig_invalid',
      `the signature hashes with ${idText(hashId)}, the key with ${key.hash}`,
      {
        field: 'hash',
        offset: 2,
      },
    );
  return key.curve === null ? parseRsa(cursor, key.bytes) : parseEcdsa(cursor, signature, key.curve);
}

export function schemeById(id: number): SignatureScheme | undefined {
  if (id === alg.rsassa) return 'rsassa';
  if (id === alg.rsapss) return 'rsapss';
  return id === alg.ecdsa ? 'ecdsa' : undefined;
}

function parseRsa(cursor: Cursor, size: number): Buffer {
  const sig = cursor.sized('sig');
  cursor.end('sig');
  if (sig.length === size) return sig;
  throw new Rejection('sig_invalid', `the RSA signature has ${sig.length} bytes, the key makes ${size}`, {
    field: 'sig',
  });
}

/** By offsets, without views: this runs for every quote. */
function parseEcdsa(cursor: Cursor, signature: Buffer, curve: Curve): Buffer {
  const rSize = cursor.u16('signatureR.size');
  const r = cursor.skip(rSize, 'signatureR');
  const sSize = cursor.u16('signatureS.size');
  const s = cursor.skip(sSize, 'signatureS');
  cursor.end('signatureS');
  checkRange(signature, r, rSize, 'signatureR', curve);
  checkRange(signature, s, sSize, 'signatureS', curve);
  return ecdsaDer(signature, r, r + rSize, s, s + sSize);
}

/** From 1 to n - 1. The first byte decides nearly always. */
function checkRange(signature: Buffer, at: number, size: number, field: string, curve: Curve): void {
  const first = signature[at] ?? 0;
  if (size === curve.bytes && first !== 0 && first < curve.order[0]!) return;
  const number = signature.subarray(at, at + size);
  if (
    size <= curve.bytes &&
    number.some((byte) => byte !== 0) &&
    Buffer.compare(padded(number, curve.bytes), curve.order) < 0
  )
    return;
  throw new Rejection('sig_invalid', `${field} is not between 1 and the order of ${curve.name}`, { field });
}

/** SEQUENCE of two INTEGERs, each as short as it may be. The length of P-521 takes a second byte. */
function ecdsaDer(signature: Buffer, rStart: number, rEnd: number, sStart: number, sEnd: number): Buffer {
  const r = firstByte(signature, rStart);
  const s = firstByte(signature, sStart);
  const content = 4 + integerSize(signature, r, rEnd) + integerSize(signature, s, sEnd);
  const long = content >= 0x80;
  const der = Buffer.allocUnsafe(content + (long ? 3 : 2));
  let at = 0;
  der[at++] = 0x30;
  if (long) der[at++] = 0x81;
  der[at++] = content;
  at = putInteger(signature, r, rEnd, der, at);
  putInteger(signature, s, sEnd, der, at);
  return der;
}

/** Where the number begins after its leading zeros; it is not zero. */
function firstByte(signature: Buffer, start: number): number {
  let at = start;
  while (signature[at] === 0) at++;
  return at;
}

function integerSize(signature: Buffer, first: number, end: number): number {
  return end - first + (signature[first]! >= 0x80 ? 1 : 0);
}

function putInteger(signature: Buffer, first: number, end: number, der: Buffer, at: number): number {
  const size = integerSize(signature, first, end);
  der[at] = 0x02;
  der[at + 1] = size;
  der[at + 2] = 0;
  signature.copy(der, at + 2 + size - (end - first), first, end);
  return at + 2 + size;
}
