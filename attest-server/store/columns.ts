/** @param what a name for the words, for the error. @throws Error if the column holds none of them */
export function knownWord<W extends string>(words: readonly W[], word: string, what: string): W {
  const found = words.find((known) => known === word);
  if (found === undefined) throw new Error(`${what} "${word}" is not known`);
  return found;
}

/** A BLOB column as a Buffer over the same memory. */
export function toBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function optionalBuffer(bytes: Uint8Array | null): Buffer | null {
  return bytes === null ? null : toBuffer(bytes);
}
