import { createPublicKey, hash, type KeyObject } from 'node:crypto';
import { Rejection } from '../../wire/rejection.ts';
import { alg, type Curve, curveById, type HashName, hashByAlg, idText } from './algorithms.ts';
import { Cursor } from './cursor.ts';

/** TPMA_OBJECT. TPM 2.0 Part 2 r1.59, section 8.3. */
export const attribute = {
  fixedTPM: 1 << 1,
  stClear: 1 << 2,
  fixedParent: 1 << 4,
  sensitiveDataOrigin: 1 << 5,
  userWithAuth: 1 << 6,
  adminWithPolicy: 1 << 7,
  noDA: 1 << 10,
  encryptedDuplication: 1 << 11,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
} as const;

export interface RsaKey {
  readonly type: 'rsa';
  readonly bits: number;
  readonly exponent: number;
  readonly modulus: Buffer;
}

export interface EccKey {
  readonly type: 'ecc';
  readonly curve: Curve;
  /** Coordinates, padded to the curve's size. */
  readonly x: Buffer;
  readonly y: Buffer;
}

/** A TPMT_PUBLIC of an asymmetric key. */
export interface PublicArea {
  /** The exact bytes of the TPMT_PUBLIC, without a size field. */
  readonly bytes: Buffer;
  readonly nameAlg: HashName;
  readonly attributes: number;
  /** Empty if the key has no policy. */
  readonly authPolicy: Buffer;
  /** AES-CFB key size of a storage or endorsement key, in bits; null if the key has no symmetric part. */
  readonly symmetricBits: number | null;
  /** `TPM_ALG_ID` of the scheme that the key is fixed to; `alg.null` where it is not. */
  readonly scheme: number;
  readonly schemeHash: HashName | null;
  readonly key: RsaKey | EccKey;
}

/**
 * Parses a TPMT_PUBLIC, or a TPM2B_PUBLIC around it. TPM 2.0 Part 2 r1.59, sections 12.2.4 and 12.2.5.
 * @throws Rejection `malformed`; `weak_key` for a SHA-1 or unknown name algorithm, RSA below 2048 bits, of an
 * even modulus or another exponent than 65537, or a curve other than P-256, P-384, P-521
 */
export function parsePublicArea(input: Buffer): PublicArea {
  const bytes = withoutSize(input);
  const cursor = new Cursor(bytes);
  const type = cursor.u16('type');
  if (type !== alg.rsa && type !== alg.ecc)
    throw cursor.fault('type', `the key is of type ${idText(type)}, neither RSA nor ECC`, 0);
  const nameAlg = strongHash(cursor.u16('nameAlg'));
  const attributes = cursor.u32('objectAttributes');
  const authPolicy = cursor.sized('authPolicy');
  const symmetricBits = parseSymmetric(cursor);
  const scheme = cursor.u16('scheme');
  const schemeHash = parseSchemeHash(cursor, scheme);
  const key = type === alg.rsa ? parseRsa(cursor) : parseEcc(cursor);
  cursor.end('unique');
  return { bytes, nameAlg, attributes, authPolicy, symmetricBits, scheme, schemeHash, key };
}

/** Name of the object: nameAlg || H(TPMT_PUBLIC), hex. TPM 2.0 Part 1 r1.59, section 16. */
export function nameOf(area: PublicArea): string {
  return nameAlgPrefix(area.nameAlg) + hash(area.nameAlg, area.bytes, 'hex');
}

/** The two bytes, hex, with which a name begins. */
export function nameAlgPrefix(nameAlg: HashName): string {
  return { sha1: '0004', sha256: '000b', sha384: '000c', sha512: '000d' }[nameAlg];
}

/** @throws Rejection `malformed` if the numbers are no key, such as a point that is not on its curve */
export function importKey(key: RsaKey | EccKey): KeyObject {
  try {
    return createPublicKey({ key: jwk(key), format: 'jwk' });
  } catch (cause) {
    throw new Rejection('malformed', 'the public area holds no valid key', { field: 'unique', cause });
  }
}

function jwk(key: RsaKey | EccKey): { kty: string; [member: string]: string } {
  if (key.type === 'ecc')
    return { kty: 'EC', crv: key.curve.name, x: key.x.toString('base64url'), y: key.y.toString('base64url') };
  const exponent = Buffer.alloc(4);
  exponent.writeUInt32BE(key.exponent);
  return {
    kty: 'RSA',
    n: key.modulus.toString('base64url'),
    e: withoutZeros(exponent).toString('base64url'),
  };
}

/** TPMT_PUBLIC begins with 0x0001 or 0x0023; no public area is as short as that size would say. */
function withoutSize(input: Buffer): Buffer {
  return input.length > 2 && input.readUInt16BE(0) === input.length - 2 ? input.subarray(2) : input;
}

function strongHash(id: number): HashName {
  const name = hashByAlg(id);
  if (name !== undefined && name !== 'sha1') return name;
  throw new Rejection(
    'weak_key',
    `the key's name algorithm is ${name ?? idText(id)}, not SHA-256 or better`,
    {
      field: 'nameAlg',
      offset: 2,
    },
  );
}

/** TPMT_SYM_DEF_OBJECT */
function parseSymmetric(cursor: Cursor): number | null {
  const id = cursor.u16('symmetric.algorithm');
  if (id === alg.null) return null;
  const bits = cursor.u16('symmetric.keyBits');
  const mode = cursor.u16('symmetric.mode');
  if (id !== alg.aes || mode !== alg.cfb || ![128, 192, 256].includes(bits))
    throw new Rejection('weak_key', `the key protects with ${idText(id)}, ${bits} bits, not with AES-CFB`, {
      field: 'symmetric',
      offset: cursor.offset,
    });
  return bits;
}

/** TPMT_RSA_SCHEME or TPMT_ECC_SCHEME, after its selector. */
function parseSchemeHash(cursor: Cursor, scheme: number): HashName | null {
  if (scheme === alg.null || scheme === alg.rsaes) return null;
  const id = cursor.u16('scheme.hashAlg');
  if (scheme === alg.ecdaa) cursor.u16('scheme.count');
  const name = hashByAlg(id);
  if (name !== undefined) return name;
  throw new Rejection('weak_key', `the key's scheme hashes with ${idText(id)}, which is not supported`, {
    field: 'scheme.hashAlg',
    offset: cursor.offset,
  });
}

/** The members of TPMS_RSA_PARMS after the scheme, and TPM2B_PUBLIC_KEY_RSA. An exponent of 0 stands for 65537. */
function parseRsa(cursor: Cursor): RsaKey {
  const bits = cursor.u16('keyBits');
  const exponent = cursor.u32('exponent') || 65537;
  const modulus = cursor.sized('unique.rsa');
  if (bits < 2048)
    throw new Rejection('weak_key', `the RSA key has ${bits} bits, not 2048 or more`, { field: 'keyBits' });
  // What no TPM needs to have: a longer one makes each signature dear.
  if (exponent !== 65537)
    throw new Rejection('weak_key', `the RSA key's exponent is ${exponent}, not 65537`, {
      field: 'exponent',
    });
  if (bits > 4096 || modulus.length * 8 !== bits || (modulus[0] ?? 0) < 0x80)
    throw cursor.fault('unique.rsa', `the modulus of ${modulus.length} bytes is not of ${bits} bits`);
  // Attack: OpenSSL imports such a key, and throws once something is encrypted with it.
  if (((modulus.at(-1) ?? 0) & 1) === 0)
    throw new Rejection('weak_key', "the RSA key's modulus is even", { field: 'unique.rsa' });
  return { type: 'rsa', bits, exponent, modulus };
}

/** The members of TPMS_ECC_PARMS after the scheme, and TPMS_ECC_POINT. */
function parseEcc(cursor: Cursor): EccKey {
  const id = cursor.u16('curveID');
  if (cursor.u16('kdf.scheme') !== alg.null) cursor.u16('kdf.hashAlg');
  const x = cursor.sized('unique.x');
  const y = cursor.sized('unique.y');
  const curve = curveById(id);
  if (curve === undefined)
    throw new Rejection('weak_key', `the key's curve is ${idText(id)}, not P-256, P-384 or P-521`, {
      field: 'curveID',
    });
  if (x.length > curve.bytes || y.length > curve.bytes)
    throw cursor.fault('unique', `the point of ${x.length} and ${y.length} bytes is not on ${curve.name}`);
  return { type: 'ecc', curve, x: padded(x, curve.bytes), y: padded(y, curve.bytes) };
}

/** A big-endian number with zeros before it, up to `size` bytes: TPMs may leave them out. */
export function padded(number: Buffer, size: number): Buffer {
  return number.length === size ? number : Buffer.concat([Buffer.alloc(size - number.length), number]);
}

function withoutZeros(number: Buffer): Buffer {
  const first = number.findIndex((byte) => byte !== 0);
  return number.subarray(Math.max(0, first));
}
