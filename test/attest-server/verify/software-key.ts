import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';

/** What a made public area says; the defaults are those of an attestation key. */
export interface AreaOptions {
  readonly nameAlg?: number;
  readonly attributes?: number;
  readonly scheme?: number;
  readonly schemeHash?: number;
  readonly curve?: number;
  /** Hex; default none. */
  readonly policy?: string;
  /** RSA; default 0. */
  readonly exponent?: number;
  /** TPMT_SYM_DEF_OBJECT, hex; of an endorsement key `000600800043`. */
  readonly symmetric?: string;
}

export type KeyKind = 'rsa1024' | 'rsa2048' | 'rsa3072' | 'rsa4096' | 'p256' | 'p384' | 'p521';

/** A key outside any TPM, described as if a TPM held it: what an attacker can always make. */
export interface SoftwareKey {
  readonly kind: KeyKind;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** TPMT_PUBLIC */
  readonly publicArea: Buffer;
}

/** fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign */
export const akAttributes = 0x00050472;
/** fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt */
export const ekAttributes = 0x000300b2;

/** What a low range endorsement key says (L-1 and L-2). */
export const ekTemplate: AreaOptions = {
  attributes: ekAttributes,
  policy: '837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa',
  scheme: 0x0010,
  symmetric: '000600800043',
};

export function softwareKey(kind: KeyKind, options: AreaOptions = {}): SoftwareKey {
  const { publicKey, privateKey } = kind.startsWith('rsa')
    ? generateKeyPairSync('rsa', { modulusLength: Number(kind.slice(3)) })
    : generateKeyPairSync('ec', { namedCurve: `P-${kind.slice(1)}` });
  return { kind, publicKey, privateKey, publicArea: madeArea(kind, publicKey, options) };
}

export function madeArea(kind: KeyKind, publicKey: KeyObject, options: AreaOptions = {}): Buffer {
  const jwk = publicKey.export({ format: 'jwk' });
  const rsa = kind.startsWith('rsa');
  const scheme = options.scheme ?? (rsa ? 0x0014 : 0x0018);
  const hash = options.schemeHash ?? 0x000b;
  const key = rsa
    ? [u16(Number(kind.slice(3))), u32(options.exponent ?? 0), sized(number(jwk.n))]
    : [
        u16(options.curve ?? (kind === 'p256' ? 3 : kind === 'p384' ? 4 : 5)),
        u16(0x0010),
        sized(number(jwk.x)),
        sized(number(jwk.y)),
      ];
  return Buffer.concat([
    u16(rsa ? 0x0001 : 0x0023),
    u16(options.nameAlg ?? 0x000b),
    u32(options.attributes ?? akAttributes),
    sized(Buffer.from(options.policy ?? '', 'hex')),
    Buffer.from(options.symmetric ?? '0010', 'hex'),
    scheme === 0x0010 ? u16(scheme) : Buffer.concat([u16(scheme), u16(hash)]),
    ...key,
  ]);
}

/** TPMT_SIGNATURE by RSASSA or ECDSA, as the key's kind says. */
export function tpmSign(key: SoftwareKey, data: Buffer, hash: 'sha1' | 'sha256' = 'sha256'): Buffer {
  const id = hash === 'sha1' ? 0x0004 : 0x000b;
  if (key.kind.startsWith('rsa'))
    return Buffer.concat([u16(0x0014), u16(id), sized(sign(hash, data, key.privateKey))]);
  const raw = sign(hash, data, { key: key.privateKey, dsaEncoding: 'ieee-p1363' });
  return ecdsaSignature(raw.subarray(0, raw.length / 2), raw.subarray(raw.length / 2), id);
}

export function ecdsaSignature(r: Buffer, s: Buffer, hash = 0x000b): Buffer {
  return Buffer.concat([u16(0x0018), u16(hash), sized(r), sized(s)]);
}

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function sized(bytes: Buffer): Buffer {
  return Buffer.concat([u16(bytes.length), bytes]);
}

function number(base64url: string | undefined): Buffer {
  return Buffer.from(base64url ?? '', 'base64url');
}
