import {
  constants,
  createCipheriv,
  createECDH,
  createHmac,
  type ECDH,
  hash,
  publicEncrypt,
} from 'node:crypto';
import { bankBytes } from '../wire/messages.ts';
import type { HashName } from './tpm/algorithms.ts';
import {
  type EccKey,
  importKey,
  type PublicArea,
  padded,
  parsePublicArea,
  type RsaKey,
} from './tpm/public-area.ts';

export interface Credential {
  /** TPM2B_ID_OBJECT, with its size field. */
  readonly credential: Buffer;
  /** TPM2B_ENCRYPTED_SECRET, with its size field. */
  readonly secret: Buffer;
}

/**
 * Wraps a secret so that only the TPM that holds this endorsement key *and* an object of this name gives it out:
 * TPM2_MakeCredential, from TPM 2.0 Part 1 r1.59, section 24 (credential protection) and annexes B and C.
 * @param ekPublicArea TPMT_PUBLIC of a checked endorsement key, RSA or ECC
 * @param akName nameAlg || H(TPMT_PUBLIC) of the attestation key
 * @param secret at most as long as a digest of the endorsement key's name algorithm
 * @param random gives that many bytes of a cryptographic generator
 * @throws Rejection for a public area that is no key; RangeError for a secret that is too long
 */
export function makeCredential(
  ekPublicArea: Buffer,
  akName: Buffer,
  secret: Buffer,
  random: (bytes: number) => Buffer,
): Credential {
  const ek = parsePublicArea(ekPublicArea);
  const digestBytes = bankBytes[ek.nameAlg];
  if (secret.length > digestBytes)
    throw new RangeError(`a credential of ${secret.length} bytes; this endorsement key takes ${digestBytes}`);
  const { seed, encrypted } =
    ek.key.type === 'rsa' ? rsaSeed(ek, ek.key, random) : eccSeed(ek, ek.key, random);
  const bits = ek.symmetricBits ?? 128;
  const symmetricKey = kdfa(ek.nameAlg, seed, 'STORAGE', akName, bits);
  const cipher = createCipheriv(`aes-${bits}-cfb`, symmetricKey, Buffer.alloc(16));
  const identity = Buffer.concat([cipher.update(sized(secret)), cipher.final()]);
  const hmacKey = kdfa(ek.nameAlg, seed, 'INTEGRITY', Buffer.alloc(0), digestBytes * 8);
  const integrity = createHmac(ek.nameAlg, hmacKey).update(identity).update(akName).digest();
  return { credential: sized(Buffer.concat([sized(integrity), identity])), secret: sized(encrypted) };
}

interface WrappedSeed {
  readonly seed: Buffer;
  readonly encrypted: Buffer;
}

/** Annex B.10.3: a random seed, by OAEP under the label "IDENTITY". */
function rsaSeed(ek: PublicArea, key: RsaKey, random: (bytes: number) => Buffer): WrappedSeed {
  const seed = random(bankBytes[ek.nameAlg]);
  const block = oaep(ek.schemeHash ?? ek.nameAlg, seed, key.modulus.length, random);
  const encrypted = publicEncrypt({ key: importKey(key), padding: constants.RSA_NO_PADDING }, block);
  return { seed, encrypted };
}

/** Annex C.6.3: a seed from one-pass Diffie-Hellman with an ephemeral key. */
function eccSeed(ek: PublicArea, key: EccKey, random: (bytes: number) => Buffer): WrappedSeed {
  const { bytes } = key.curve;
  const ephemeral = ephemeralKey(key, random);
  const point = ephemeral.getPublicKey();
  const x = point.subarray(1, 1 + bytes);
  const y = point.subarray(1 + bytes);
  const shared = ephemeral.computeSecret(Buffer.concat([Buffer.of(4), key.x, key.y]));
  const seed = kdfe(ek.nameAlg, padded(shared, bytes), 'IDENTITY', x, key.x);
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
function oaep(hashName: HashName, message: Buffer, size: number, random: (bytes: number) => Buffer): Buffer {
  const digestBytes = bankBytes[hashName];
  const seed = random(digestBytes);
  const data = Buffer.alloc(size - digestBytes - 1);
  hash(hashName, Buffer.from('IDENTITY\0'), 'buffer').copy(data);
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

function sized(bytes: Buffer): Buffer {
  const size = Buffer.alloc(2);
  size.writeUInt16BE(bytes.length);
  return Buffer.concat([size, bytes]);
}
