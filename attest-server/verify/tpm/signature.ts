import { Rejection } from '../../protocol/rejection.ts';
import { alg, type Curve, type HashName, hashByAlg, idText } from './algorithms.ts';
import { Cursor } from './cursor.ts';

export type SignatureScheme = 'rsassa' | 'rsapss' | 'ecdsa';

/** What a key signs with, and therefore the only thing that is accepted of it. */
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
 * signature, or r || s (`ieee-p1363`). TPM 2.0 Part 2 r1.59, section 11.3.4.
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
  return key.curve === null ? parseRsa(cursor, key.bytes) : parseEcdsa(cursor, key.curve);
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

function parseEcdsa(cursor: Cursor, curve: Curve): Buffer {
  const r = cursor.sized('signatureR');
  const s = cursor.sized('signatureS');
  cursor.end('signatureS');
  const joined = Buffer.alloc(2 * curve.bytes);
  place(r, 'signatureR', joined.subarray(0, curve.bytes), curve);
  place(s, 'signatureS', joined.subarray(curve.bytes), curve);
  return joined;
}

/** Puts a number from 1 to n - 1 at the end of its place. */
function place(number: Buffer, field: string, target: Buffer, curve: Curve): void {
  if (number.length <= curve.bytes) {
    number.copy(target, curve.bytes - number.length);
    if (Buffer.compare(target, curve.order) < 0 && !isZero(target)) return;
  }
  throw new Rejection('sig_invalid', `${field} is not between 1 and the order of ${curve.name}`, { field });
}

function isZero(number: Buffer): boolean {
  for (const byte of number) if (byte !== 0) return false;
  return true;
}
