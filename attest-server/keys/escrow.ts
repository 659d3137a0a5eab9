import { createCipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { armor, Encrypter } from 'age-encryption';
import { secretBytes } from '../wire/secret-bytes.ts';

const [nonceBytes, tagBytes, pieceBytes] = [16, 16, 64 * 1024];

/**
 * Encrypts a secret to age recipients (policy), each of whom can read it alone. The library makes the header. It would leave
 * the secret in a buffer of its own, so the payload is made here (https://age-encryption.org/v1, "Payload").
 */
export async function sealForRecovery(secret: Buffer, recipients: readonly string[]): Promise<Buffer> {
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  const fileKey = secretBytes(16);
  encrypter.addRecipient({
    wrapFileKey(key) {
      fileKey.set(key);
      return [];
    },
  });
  const empty = await encrypter.encrypt(new Uint8Array());
  const nonce = randomBytes(nonceBytes);
  const key = Buffer.from(hkdfSync('sha256', fileKey, nonce, 'payload', 32));
  try {
    return Buffer.concat([
      empty.subarray(0, empty.length - nonceBytes - tagBytes),
      nonce,
      ...pieces(secret, key),
    ]);
  } finally {
    for (const used of [fileKey, key]) used.fill(0);
  }
}

/** Each piece with its number, the last one marked. */
function* pieces(secret: Buffer, key: Buffer): Generator<Buffer> {
  const count = Math.max(1, Math.ceil(secret.length / pieceBytes));
  for (let index = 0; index < count; index++) {
    const number = Buffer.alloc(12);
    number.writeUInt32BE(index, 7);
    number[11] = index + 1 === count ? 1 : 0;
    const cipher = createCipheriv('chacha20-poly1305', key, number, { authTagLength: tagBytes });
    yield cipher.update(secret.subarray(index * pieceBytes, (index + 1) * pieceBytes));
    cipher.final();
    yield cipher.getAuthTag();
  }
}

/** The same as text, which `age --decrypt` takes, too. */
export function armoured(encrypted: Buffer): string {
  return armor.encode(encrypted);
}
