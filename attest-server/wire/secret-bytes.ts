import { type DecipherGCM, randomFillSync } from 'node:crypto';

/**
 * Memory for a secret, which its owner wipes. It is outside V8's heap: there a buffer of up to 64 bytes (`allocUnsafeSlow` too)
 * is moved when garbage is collected, and leaves a copy where it was.
 */
export function secretBytes(length: number): Buffer {
  return Buffer.from(new ArrayBuffer(length));
}

export function randomSecret(length: number): Buffer {
  return randomFillSync(secretBytes(length));
}

/**
 * Decrypts byte by byte: Node.js frees a copy of what `update` gives, and does not wipe it, so that each byte takes the place
 * of the one before.
 * @throws whatever `final` throws where the tag does not fit; nothing is left then
 */
export function decryptSecret(decipher: DecipherGCM, ciphertext: Buffer): Buffer {
  const secret = secretBytes(ciphertext.length);
  try {
    for (let at = 0; at < secret.length; at++) {
      const byte = decipher.update(ciphertext.subarray(at, at + 1));
      byte.copy(secret, at);
      byte.fill(0);
    }
    decipher.final();
    return secret;
  } catch (error) {
    secret.fill(0);
    throw error;
  }
}
