import { createHash, hash } from 'node:crypto';
import { sized, wrapFor } from './tpm/outer-wrap.ts';
import { attribute, nameAlgPrefix, parsePublicArea } from './tpm/public-area.ts';

/** An object as TPM2_Import takes it; each with its size field. */
export interface DuplicatedObject {
  /** TPM2B_PUBLIC. */
  readonly publicArea: Buffer;
  /** TPM2B_PRIVATE, encrypted to the parent. */
  readonly duplicate: Buffer;
  /** TPM2B_ENCRYPTED_SECRET. */
  readonly seed: Buffer;
}

/**
 * Seals a secret to the TPM that holds this endorsement key, which unseals it under the policy alone: a keyedhash object
 * that no user authorisation opens, duplicated without an inner wrapper. TPM 2.0 Part 1 r1.59, section 23.3.
 * @param ekPublicArea TPMT_PUBLIC of a checked endorsement key, RSA or ECC
 * @param secret 1 to 128 bytes
 * @param authPolicy SHA-256 digest, 32 bytes
 * @param random gives that many bytes of a cryptographic generator
 * @throws Rejection for a public area that is no key; RangeError for a secret or policy of another length
 */
export function sealTo(
  ekPublicArea: Buffer,
  secret: Buffer,
  authPolicy: Buffer,
  random: (bytes: number) => Buffer,
): DuplicatedObject {
  if (secret.length < 1 || secret.length > 128) throw new RangeError(`a secret of ${secret.length} bytes`);
  if (authPolicy.length !== 32) throw new RangeError(`a policy digest of ${authPolicy.length} bytes`);
  const obfuscation = random(32);
  const unique = createHash('sha256').update(obfuscation).update(secret).digest();
  const publicArea = sealedPublicArea(authPolicy, unique);
  const name = Buffer.concat([
    Buffer.from(nameAlgPrefix('sha256'), 'hex'),
    hash('sha256', publicArea, 'buffer'),
  ]);
  const sensitive = sensitiveArea(obfuscation, secret);
  try {
    const { wrapped, seed } = wrapFor(parsePublicArea(ekPublicArea), 'DUPLICATE', name, sensitive, random);
    return { publicArea: sized(publicArea), duplicate: sized(wrapped), seed };
  } finally {
    obfuscation.fill(0);
    sensitive.fill(0);
  }
}

/**
 * TPM2B_SENSITIVE: size, type, no authorisation value, obfuscation value, data. Part 2 r1.59, section 12.3.2.4. In memory of
 * its own, which the caller wipes: one that is pooled is shared.
 */
function sensitiveArea(obfuscation: Buffer, secret: Buffer): Buffer {
  const area = Buffer.allocUnsafeSlow(2 + 2 + 2 + 2 + obfuscation.length + 2 + secret.length);
  let at = area.writeUInt16BE(area.length - 2);
  at += keyedHash.copy(area, at);
  at = area.writeUInt16BE(0, at);
  at = area.writeUInt16BE(obfuscation.length, at);
  at += obfuscation.copy(area, at);
  at = area.writeUInt16BE(secret.length, at);
  secret.copy(area, at);
  return area;
}

/** `TPM_ALG_KEYEDHASH`. */
const keyedHash = Buffer.from('0008', 'hex');
const nullScheme = Buffer.from('0010', 'hex');

/** TPMT_PUBLIC of sealed data: may leave its TPM (no fixedTPM, no fixedParent), and its policy is the only way in. */
function sealedPublicArea(authPolicy: Buffer, unique: Buffer): Buffer {
  const attributes = Buffer.alloc(4);
  attributes.writeUInt32BE(attribute.noDA);
  const nameAlg = Buffer.from(nameAlgPrefix('sha256'), 'hex');
  return Buffer.concat([keyedHash, nameAlg, attributes, sized(authPolicy), nullScheme, sized(unique)]);
}
