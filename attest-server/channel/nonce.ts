import { randomFillSync } from 'node:crypto';
import { nonceBytes } from '../wire/binding.ts';

const pool = Buffer.allocUnsafeSlow(256 * nonceBytes);
let used = pool.length;

/**
 * Fresh random bytes. They are drawn for many nonces at once, and leave the pool as they are handed out; each nonce has
 * memory of its own, since a waiting one would keep all of Buffer's shared pool alive.
 */
export function takeNonce(): Buffer {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const nonce = Buffer.allocUnsafeSlow(nonceBytes);
  pool.copy(nonce, 0, used, used + nonceBytes);
  pool.fill(0, used, used + nonceBytes);
  used += nonceBytes;
  return nonce;
}
