import { recoveryBytes } from '../wire/key-derivation.ts';
import { secretBytes } from '../wire/secret-bytes.ts';

/** Crockford's base 32 in lower case: no letter in it is taken for another one. */
const alphabet = Buffer.from('0123456789abcdefghjkmnpqrstvwxyz');
const groups = 8;
const inGroup = 5;

/**
 * A passphrase that a person can type at a console: 8 groups of 5 characters, 200 random bits, 47 bytes of ASCII. In memory of
 * its own, which the caller wipes.
 */
export function recoveryPassphrase(random: (bytes: number) => Buffer): Buffer {
  const bits = random(groups * inGroup);
  const text = secretBytes(recoveryBytes).fill('-');
  bits.forEach((byte, index) => {
    // 32 divides 256: each character is as likely as any other.
    text[index + Math.floor(index / inGroup)] = alphabet[byte & 31] ?? 0;
  });
  bits.fill(0);
  return text;
}
