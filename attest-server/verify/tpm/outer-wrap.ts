import {
  constants,
  createCipheriv,
  createECDH,
  createHmac,
  type ECDH,
  hash,
  publicEncrypt,
} from 'node:crypto';
import { bankBytes } from '../../wire/messages.ts';
import type { HashName } from './algorithms.ts';
import { type EccKey, importKey, type PublicArea, padded, type RsaKey } from './public-area.ts';

/** Bytes that only the TPM which holds the parent key can open, and the seed that it needs for that. */
export interface OuterWrap {
  /** HMAC with its size field, then the encrypted payload. */
  readonly wrapped: Buffer;
  /** TPM2B_ENCRYPTED_SECRET, with its size field. */
  readonly seed: Buffer;
}

/** Which command opens it: TPM2_ActivateCredential, or TPM2_Import. */
export type WrapLabel = 'IDENTITY' | 'DUPLICATE';

/**
 * The wrap that protects credentials and duplicated objects alike: a seed that only the parent recovers, and from it the
 * keys for AES-CFB and HMAC. TPM 2.0 Part 1 r1.59, sections 23 and 24 and annexes B and C.
 * @param parent a storage key: here an endorsement key, RSA or ECC
 * @param name of the object that it is bound to: nameAlg || H(TPMT_PUBLIC)
 * @param payload with its size field
 * @param random gives that many bytes of a cryptographic generator
 */
export function wrapFor(
  parent: PublicArea,
  label: WrapLabel,
  name: Buffer,
  payload: Buffer,
  random: (bytes: number) => Buffer,
): OuterWrap {
  const { seed, encrypted } =
    parent.key.type === 'rsa'
      ? rsaSeed(parent, parent.key, label, random)
      : eccSeed(parent, parent.key, label, random);
  const bits = parent.symmetricBits ?? 128;
  const symmetricKey = kdfa(parent.nameAlg, seed, 'STORAGE', name, bits);
  const cipher = createCipheriv(`aes-${bits}-cfb`, symmetricKey, Buffer.alloc(16));
  const ciphertext = Buffer.concat([cipher.update(payload), cipher.final()]);
  const hmacKey = kdfa(parent.nameAlg, seed, 'INTEGRITY', Buffer.alloc(0), bankBytes[parent.nameAlg] * 8);
  const integrity = createHmac(parent.nameAlg, hmacKey).update(ciphertext).update(name).digest();
  for (const secret of [seed, symmetricKey, hmacKey]) secret.fill(0);
  return { wrapped: Buffer.concat([sized(integrity), ciphertext]), seed: sized(encrypted) };
}

interface WrappedSeed {
  readonly seed: Buffer;
  readonly encrypted: Buffer;
}

/** Annex B.10.3: a random seed, by OAEP under the label. */
function rsaSeed(
  parent: PublicArea,
  key: RsaKey,
  label: WrapLabel,
  random: (bytes: number) => Buffer,
): WrappedSeed {
  const seed = random(bankBytes[parent.nameAlg]);
  const block = oaep(parent.schemeHash ?? parent.nameAlg, label, seed, key.modulus.length, random);
  const encrypted = publicEncrypt({ key: importKey(key), padding: constants.RSA_NO_PADDING }, block);
  return { seed, encrypted };
}

/** Annex C.6.3: a seed from one-pass Diffie-Hellman with an ephemeral key. */
function eccSeed(
  parent: PublicArea,
  key: EccKey,
  label: WrapLabel,
  random: (bytes: number) => Buffer,
): WrappedSeed {
  const { bytes } = key.curve;
  const ephemeral = ephemeralKey(key, random);
  const point = ephemeral.getPublicKey();
  const x = point.subarray(1, 1 + bytes);
  const y = point.subarray(1 + bytes);
  const shared = ephemeral.computeSecret(Buffer.concat([Buffer.of(4), key.x, key.y]));
  const seed = kdfe(parent.nameAlg, padded(shared, bytes), label, x, key.x);
  return { seed, encrypted: Buffer.concat([sized(x), sized(y)]) };
}

const opensslCurves = { 'P-256': 'prime256v1', 'P-384': 'secp384r1', 'P-521': 'secp521r1' } as const;

/** A random number is a private key unless it is zero or beyond the order: then the next one is tried. */
function ephemeralKey({ curve }: EccKey, random: (bytes: number) => Buffer): ECDH {
  for (let attempt = 0; attempt < 64; attempt++) {
    const scalar = random(curve.bytes);
    if (curve.name === 'P-521') scalar[0] = (scalar[0] ?? 0) & 1;
    if (Buffer.compare(scalar, curve.order) >= 0 || scalar.every((byte) => byte === 0)) continue;
    const ecdh = createECDH(opensslCurves[curve.name]);
    ecdh.setPrivateKey(scalar);
    return ecdh;
  }
  throw new Error('the random generator gives no private key');
}

/** EME-OAEP, RFC 8017 section 7.1.1; written out, since the seed is an argument here. */
function oaep(
  hashName: HashName,
  label: WrapLabel,
  message: Buffer,
  size: number,
  random: (bytes: number) => Buffer,
): Buffer {
  const digestBytes = bankBytes[hashName];
  const seed = random(digestBytes);
  const data = Buffer.alloc(size - digestBytes - 1);
  hash(hashName, Buffer.from(`${label}\0`), 'buffer').copy(data);
  data[data.length - message.length - 1] = 1;
  message.copy(data, data.length - message.length);
  const maskedData = xor(data, mgf1(hashName, seed, data.length));
  const maskedSeed = xor(seed, mgf1(hashName, maskedData, digestBytes));
  return Buffer.concat([Buffer.of(0), maskedSeed, maskedData]);
}

function mgf1(hashName: HashName, seed: Buffer, size: number): Buffer {
  return blocks(size, (i) => hash(hashName, Buffer.concat([seed, uint32(i)]), 'buffer'), 0);
}

/** Part 1, section 11.4.10.2: HMAC(key, i || label || 00 || contextU || contextV || bits), with an empty contextV. */
function kdfa(hashName: HashName, key: Buffer, label: string, contextU: Buffer, bits: number): Buffer {
  const fixed = Buffer.concat([Buffer.from(`${label}\0`), contextU, uint32(bits)]);
  return blocks(bits / 8, (i) => createHmac(hashName, key).update(uint32(i)).update(fixed).digest(), 1);
}

/** Part 1, section 11.4.10.3: H(i || Z || label || 00 || PartyU || PartyV), as long as a digest. */
function kdfe(hashName: HashName, z: Buffer, label: string, partyU: Buffer, partyV: Buffer): Buffer {
  return hash(hashName, Buffer.concat([uint32(1), z, Buffer.from(`${label}\0`), partyU, partyV]), 'buffer');
}

function blocks(size: number, block: (index: number) => Buffer, first: number): Buffer {
  const parts: Buffer[] = [];
  for (let have = 0; have < size; have += parts[0]!.length) parts.push(block(first + parts.length));
  return Buffer.concat(parts).subarray(0, size);
}

function xor(a: Buffer, b: Buffer): Buffer {
  return Buffer.from(a.map((byte, index) => byte ^ (b[index] ?? 0)));
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** TPM2B: the size as an unsigned 16-bit big-endian number, then the bytes. */
export function sized(bytes: Buffer): Buffer {
  const size = Buffer.alloc(2);
  size.writeUInt16BE(bytes.length);
  return Buffer.concat([size, bytes]);
}
