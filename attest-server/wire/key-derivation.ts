import { createCipheriv, createDecipheriv, type ECDH, hkdfSync } from 'node:crypto';
import { lengthPrefixed } from './binding.ts';
import { keyRequestDigest } from './key-request.ts';
import { Rejection } from './rejection.ts';
import { decryptSecret, secretBytes } from './secret-bytes.ts';

/** Bytes of the key of a volume. */
export const volumeKeyBytes = 32;
/** Bytes of a recovery passphrase, which follows the key while its volume is to be formatted. */
export const recoveryBytes = 47;
/** Bytes of the secret that only the TPM unseals. */
const sealedBytes = 32;
const tagBytes = 16;
/** Bytes of an encrypted key, its tag included. */
export const encryptedKeyBytes = volumeKeyBytes + tagBytes;
/** The same with a recovery passphrase. */
export const encryptedBothBytes = volumeKeyBytes + recoveryBytes + tagBytes;
/** The same with the next key, while that replaces it. */
export const encryptedKeysBytes = 2 * volumeKeyBytes + tagBytes;

/** The secrets of one release: both are needed, and neither is used again. The caller wipes `sealed`. */
export interface ReleaseSecrets {
  /** Unsealed by the TPM, in the boot that was proven; 32 bytes. */
  readonly sealed: Buffer;
  /** One's own key of this release. */
  readonly own: ECDH;
  /** The other's public key, checked: a point of P-256. */
  readonly peer: Buffer;
  /** Of the challenge whose answer asked, 32 bytes. */
  readonly nonce: Buffer;
}

/** The facts of one release that both sides know by themselves, and that its ciphertext is bound to. */
export interface ReleaseContext {
  /** SHA-256 of the endorsement key's public area, hex. */
  readonly ekDigest: string;
  readonly node: string;
  /** LUKS UUID. */
  readonly volume: string;
  /** 16 bytes, hex. */
  readonly leaseId: string;
  readonly resetCount: number;
  /** The exact bytes of the request (key-request.ts). */
  readonly keyRequest: Buffer;
}

/** Ciphertext, then the tag. @param key of the volume, which a recovery passphrase or the next key may follow */
export function encryptVolumeKey(secrets: ReleaseSecrets, context: ReleaseContext, key: Buffer): Buffer {
  if (![0, recoveryBytes, volumeKeyBytes].includes(key.length - volumeKeyBytes))
    throw new RangeError(`a volume key of ${key.length} bytes`);
  return withReleaseKey(secrets, (releaseKey) => {
    const cipher = createCipheriv('aes-256-gcm', releaseKey, usedOnce).setAAD(additionalData(context));
    return Buffer.concat([cipher.update(key), cipher.final(), cipher.getAuthTag()]);
  });
}

/**
 * The key, and the recovery passphrase or the next key if one follows, in memory of its own, which the caller wipes.
 * @throws Rejection `malformed` for what was not encrypted for these secrets and this context
 */
export function decryptVolumeKey(
  secrets: ReleaseSecrets,
  context: ReleaseContext,
  ciphertext: Buffer,
): Buffer {
  if (![encryptedKeyBytes, encryptedKeysBytes, encryptedBothBytes].includes(ciphertext.length))
    throw new Rejection('malformed', `an encrypted key of ${ciphertext.length} bytes`, {
      field: 'ciphertext',
    });
  return withReleaseKey(secrets, (releaseKey) => {
    const decipher = createDecipheriv('aes-256-gcm', releaseKey, usedOnce)
      .setAAD(additionalData(context))
      .setAuthTag(ciphertext.subarray(-tagBytes));
    try {
      return decryptSecret(decipher, ciphertext.subarray(0, -tagBytes));
    } catch (cause) {
      throw new Rejection('malformed', 'the key was encrypted for another request', {
        field: 'ciphertext',
        cause,
      });
    }
  });
}

/** A key encrypts one message, so that its nonce may be zero. */
const usedOnce = Buffer.alloc(12);
const info = Buffer.from('assay/key/1');

/** K = HKDF-SHA256(sealed || ECDH, salt = nonce, info = "assay/key/1"), RFC 5869, wiped after its use. */
function withReleaseKey<T>({ sealed, own, peer, nonce }: ReleaseSecrets, use: (key: Buffer) => T): T {
  if (sealed.length !== sealedBytes) throw new RangeError(`a sealed secret of ${sealed.length} bytes`);
  const shared = own.computeSecret(peer);
  const input = secretBytes(sealed.length + shared.length);
  sealed.copy(input);
  shared.copy(input, sealed.length);
  const key = Buffer.from(hkdfSync('sha256', input, nonce, info, 32));
  try {
    return use(key);
  } finally {
    for (const secret of [shared, input, key]) secret.fill(0);
  }
}

function additionalData(context: ReleaseContext): Buffer {
  const { ekDigest, node, volume, leaseId, resetCount, keyRequest } = context;
  const reset = Buffer.alloc(4);
  reset.writeUInt32BE(resetCount);
  return lengthPrefixed([
    Buffer.from(ekDigest, 'hex'),
    Buffer.from(node),
    Buffer.from(volume),
    Buffer.from(leaseId, 'hex'),
    reset,
    keyRequestDigest(keyRequest),
  ]);
}
