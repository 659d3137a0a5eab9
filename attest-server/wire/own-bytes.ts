/** The same in memory of its own, which nobody else writes to: a part of Buffer's shared pool keeps all of that alive. */
export function ownBytes(bytes: Uint8Array): Buffer {
  const own = Buffer.allocUnsafeSlow(bytes.length);
  own.set(bytes);
  return own;
}

/** More than comes in one piece from the network: what is as long has a buffer of its own, which holds nothing else. */
const long = 128 * 1024;

/**
 * Gives the memory of a long message back at once, where nobody has looked at it and nobody will: there are no bytes in it afterwards.
 * Attack: what is sent to be refused piles up until it is collected.
 */
export function giveBackLong({ buffer, byteOffset, length }: Buffer): void {
  const isOwn =
    buffer instanceof ArrayBuffer && byteOffset <= headBytes && byteOffset + length === buffer.byteLength;
  if (isOwn && length >= long) buffer.transfer(0);
}

/** The most bytes of a frame before its content. */
const headBytes = 32;
