import { createPublicKey, hash, type KeyObject, verify } from 'node:crypto';
import { declaredBounds } from '../../formats/declared.ts';
import { lengthPrefixed } from '../../wire/binding.ts';
import { Rejection } from '../../wire/rejection.ts';
import { Cursor } from '../tpm/cursor.ts';
import { padded } from '../tpm/public-area.ts';

/** A public key as SSH writes it, and what verifies by it. RFC 4253, section 6.6; RFC 5656, section 3.1; RFC 8709, section 4. */
export interface SshKey {
  /** `ssh-ed25519`, `ssh-rsa`, `ecdsa-sha2-nistp256` and so on. */
  readonly type: string;
  /** In SSH's own bytes. */
  readonly blob: Buffer;
  readonly key: KeyObject;
  /** Algorithms of its signatures: which name goes with which hash, null if the scheme hashes itself. */
  readonly algorithms: Readonly<Record<string, string | null>>;
  /** Bytes of r and s each; null for keys that sign otherwise than by ECDSA. */
  readonly numberBytes: number | null;
}

/** A signature by OpenSSH's PROTOCOL.sshsig, as it describes itself. */
export interface SshSignature {
  readonly publicKey: Buffer;
  readonly namespace: string;
  /** The hash of the message: sha256 or sha512. */
  readonly hashAlgorithm: string;
  readonly algorithm: string;
  readonly signature: Buffer;
}

const curves: Readonly<
  Record<string, { readonly crv: string; readonly bytes: number; readonly hash: string }>
> = {
  nistp256: { crv: 'P-256', bytes: 32, hash: 'sha256' },
  nistp384: { crv: 'P-384', bytes: 48, hash: 'sha384' },
  nistp521: { crv: 'P-521', bytes: 66, hash: 'sha512' },
};
/** Bits. SP 800-131A, revision 2: shorter ones sign nothing any more. */
const shortestRsa = 2048;
const longestRsa = 8192;

/** @throws Rejection `malformed`, `weak_key` */
export function parseSshKey(blob: Buffer): SshKey {
  const cursor = new Cursor(blob);
  const type = textOf(cursor, 'key.type');
  if (type === 'ssh-ed25519') {
    const x = stringOf(cursor, 'key.pk');
    cursor.end('key.pk');
    if (x.length !== 32) throw cursor.fault('key.pk', `a point of ${x.length} bytes, not 32`);
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: x.toString('base64url') };
    return { type, blob, key: keyOf(jwk, cursor), algorithms: { [type]: null }, numberBytes: null };
  }
  if (type === 'ssh-rsa') {
    const [e, n] = [numberOf(cursor, 'key.e'), numberOf(cursor, 'key.n')];
    cursor.end('key.n');
    if (n.length * 8 > longestRsa) throw cursor.fault('key.n', 'longer than 8192 bits');
    const key = keyOf({ kty: 'RSA', e: e.toString('base64url'), n: n.toString('base64url') }, cursor);
    if ((key.asymmetricKeyDetails?.modulusLength ?? 0) < shortestRsa)
      throw new Rejection('weak_key', `an RSA key below ${shortestRsa} bits`, { field: 'key.n' });
    // Of SHA-1, `ssh-rsa` as an algorithm, nothing is taken.
    const algorithms = { 'rsa-sha2-256': 'sha256', 'rsa-sha2-512': 'sha512' };
    return { type, blob, key, algorithms, numberBytes: null };
  }
  const name = /^ecdsa-sha2-(nistp\d+)$/.exec(type)?.[1] ?? '';
  const curve = Object.hasOwn(curves, name) ? curves[name] : undefined;
  if (curve === undefined)
    throw new Rejection('malformed', `keys of the type ${type} are not supported`, { field: 'key.type' });
  const named = textOf(cursor, 'key.curve');
  const point = stringOf(cursor, 'key.Q');
  cursor.end('key.Q');
  if (named !== name || point[0] !== 4 || point.length !== 1 + 2 * curve.bytes)
    throw cursor.fault('key.Q', 'no uncompressed point of its curve');
  const [x, y] = [point.subarray(1, 1 + curve.bytes), point.subarray(1 + curve.bytes)];
  const jwk = { kty: 'EC', crv: curve.crv, x: x.toString('base64url'), y: y.toString('base64url') };
  const key = keyOf(jwk, cursor);
  return { type, blob, key, algorithms: { [type]: curve.hash }, numberBytes: curve.bytes };
}

/** Parses the armoured file that `ssh-keygen -Y sign` writes. @throws Rejection `malformed`, `too_large` */
export function parseSshSignature(file: Buffer): SshSignature {
  if (file.length > declaredBounds.signature)
    throw new Rejection('too_large', `a signature of ${file.length} bytes`, { field: 'signature' });
  const armour = /^-----BEGIN SSH SIGNATURE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END SSH SIGNATURE-----\s*$/;
  const [, text] = armour.exec(file.toString('latin1')) ?? [];
  if (text === undefined)
    throw new Rejection('malformed', 'no armoured SSH signature', { field: 'signature' });
  const cursor = new Cursor(Buffer.from(text.replace(/[\r\n]/g, ''), 'base64'));
  if (cursor.bytes(6, 'magic').toString('latin1') !== magic) throw cursor.fault('magic', 'is not SSHSIG', 0);
  const version = cursor.u32('version');
  if (version !== 1) throw cursor.fault('version', `is ${version}, not 1`);
  const publicKey = stringOf(cursor, 'publickey');
  const namespace = textOf(cursor, 'namespace');
  // What is reserved is for words to come: whoever ignores them would verify something else than was signed.
  if (stringOf(cursor, 'reserved').length > 0) throw cursor.fault('reserved', 'is not empty');
  const hashAlgorithm = textOf(cursor, 'hash_algorithm');
  if (hashAlgorithm !== 'sha256' && hashAlgorithm !== 'sha512')
    throw cursor.fault('hash_algorithm', 'is neither sha256 nor sha512');
  const inner = new Cursor(stringOf(cursor, 'signature'));
  cursor.end('signature');
  const algorithm = textOf(inner, 'signature.type');
  const signature = stringOf(inner, 'signature.blob');
  inner.end('signature.blob');
  return { publicKey, namespace, hashAlgorithm, algorithm, signature };
}

/** Whether this key made this signature over these bytes, for this namespace. */
export function isSignedBySsh(message: Buffer, given: SshSignature, by: SshKey, namespace: string): boolean {
  // Attack: the key signed a commit or a mail; for another namespace it is another signature.
  if (given.namespace !== namespace || !given.publicKey.equals(by.blob)) return false;
  if (!Object.hasOwn(by.algorithms, given.algorithm)) return false;
  const digest = by.algorithms[given.algorithm] ?? null;
  const signed = Buffer.concat([
    Buffer.from(magic, 'latin1'),
    lengthPrefixed([
      ...[given.namespace, '', given.hashAlgorithm].map((text) => Buffer.from(text, 'latin1')),
      hash(given.hashAlgorithm, message, 'buffer'),
    ]),
  ]);
  if (by.numberBytes === null) return verify(digest, signed, by.key, given.signature);
  const pair = pairOf(given.signature, by.numberBytes);
  return pair !== null && verify(digest, signed, { key: by.key, dsaEncoding: 'ieee-p1363' }, pair);
}

const magic = 'SSHSIG';

/** r and s side by side; null if they are none. RFC 5656, section 3.1.2. */
function pairOf(blob: Buffer, bytes: number): Buffer | null {
  try {
    const cursor = new Cursor(blob);
    const [r, s] = [numberOf(cursor, 'r'), numberOf(cursor, 's')];
    cursor.end('s');
    if (r.length > bytes || s.length > bytes) return null;
    return Buffer.concat([padded(r, bytes), padded(s, bytes)]);
  } catch (error) {
    if (error instanceof Rejection) return null;
    throw error;
  }
}

function keyOf(jwk: Readonly<Record<string, string>>, cursor: Cursor): KeyObject {
  try {
    return createPublicKey({ key: jwk, format: 'jwk' });
  } catch (cause) {
    throw new Rejection('malformed', 'no key of its type', { field: 'key', offset: cursor.offset, cause });
  }
}

/** A string of SSH: 32 bits of length, and so many bytes. RFC 4251, section 5. */
function stringOf(cursor: Cursor, field: string): Buffer {
  return cursor.bytes(cursor.u32(`${field}.length`), field);
}

function textOf(cursor: Cursor, field: string): string {
  return stringOf(cursor, field).toString('latin1');
}

/** A positive mpint, without the zero that keeps it positive. RFC 4251, section 5. */
function numberOf(cursor: Cursor, field: string): Buffer {
  const bytes = stringOf(cursor, field);
  const [top = 0, next = 0] = bytes;
  if (bytes.length === 0 || top > 0x7f || (top === 0 && next < 0x80))
    throw cursor.fault(field, 'is no positive number in the fewest bytes');
  return top === 0 ? bytes.subarray(1) : bytes;
}
