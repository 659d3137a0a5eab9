import { createPublicKey, hash, type KeyObject, verify } from 'node:crypto';
import { declaredBounds } from '../../formats/declared.ts';
import { Rejection } from '../../wire/rejection.ts';

/** Formats of minisign's manual page, "SIGNATURE FORMAT" and "PUBLIC KEY FORMAT". */
export interface MinisignKey {
  /** As minisign prints it: 16 hex digits. */
  readonly id: string;
  readonly key: KeyObject;
}

export interface MinisignSignature {
  readonly id: string;
  /** Whether it is a signature over the file's BLAKE2b-512, not over the file. */
  readonly isPrehashed: boolean;
  readonly signature: Buffer;
  readonly trustedComment: string;
  /** The signature over signature and trusted comment. */
  readonly globalSignature: Buffer;
}

/** Parses the second line of a public key file. @throws Rejection `malformed` */
export function parseMinisignKey(base64: string): MinisignKey {
  const bytes = ofBase64(base64, 42, 'key');
  if (bytes.toString('latin1', 0, 2) !== 'Ed')
    throw new Rejection('malformed', 'not a key of Ed25519', { field: 'key' });
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: bytes.subarray(10).toString('base64url') };
  return { id: idOf(bytes), key: createPublicKey({ key: jwk, format: 'jwk' }) };
}

/** Parses the file that `minisign -S` writes. @throws Rejection `malformed`, `too_large` */
export function parseMinisignSignature(file: Buffer): MinisignSignature {
  if (file.length > declaredBounds.signature)
    throw new Rejection('too_large', `a signature of ${file.length} bytes`, { field: 'signature' });
  const [untrusted = '', first = '', trusted = '', second = '', ...more] = file
    .toString('latin1')
    .replace(/\n$/, '')
    .split('\n')
    .map((line) => line.replace(/\r$/, ''));
  if (more.length > 0 || !untrusted.startsWith('untrusted comment: '))
    throw new Rejection('malformed', 'not the four lines of a signature of minisign', { field: 'signature' });
  if (!trusted.startsWith(trustedBegin))
    throw new Rejection('malformed', 'there is no trusted comment', { field: 'trusted comment' });
  const bytes = ofBase64(first, 74, 'signature');
  const algorithm = bytes.toString('latin1', 0, 2);
  if (algorithm !== 'Ed' && algorithm !== 'ED')
    throw new Rejection('malformed', 'not a signature by Ed25519', { field: 'signature' });
  return {
    id: idOf(bytes),
    isPrehashed: algorithm === 'ED',
    signature: bytes.subarray(10),
    trustedComment: trusted.slice(trustedBegin.length),
    globalSignature: ofBase64(second, 64, 'global signature'),
  };
}

/** Whether this key made this signature over these bytes, its trusted comment included. */
export function isSignedByMinisign(message: Buffer, given: MinisignSignature, by: MinisignKey): boolean {
  if (given.id !== by.id) return false;
  const signed = given.isPrehashed ? hash('blake2b512', message, 'buffer') : message;
  const all = Buffer.concat([given.signature, Buffer.from(given.trustedComment, 'latin1')]);
  return verify(null, signed, by.key, given.signature) && verify(null, all, by.key, given.globalSignature);
}

const trustedBegin = 'trusted comment: ';

function ofBase64(text: string, length: number, field: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length !== length || bytes.toString('base64') !== text)
    throw new Rejection('malformed', `the ${field} is not ${length} bytes in base64`, { field });
  return bytes;
}

/** It is a number in the order of a small machine. */
function idOf(bytes: Buffer): string {
  return bytes.readBigUInt64LE(2).toString(16).toUpperCase().padStart(16, '0');
}
