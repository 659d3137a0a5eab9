/** The same in memory of its own, which nobody else writes to: a part of Buffer's shared pool keeps all of that alive. */
export function ownBytes(bytes: Uint8Array): Buffer {
  const own = Buffer.allocUnsafeSlow(bytes.length);
  own.set(bytes);
  return own;
}
