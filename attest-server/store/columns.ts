/** A BLOB column as a Buffer over the same memory. */
export function toBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function optionalBuffer(bytes: Uint8Array | null): Buffer | null {
  return bytes === null ? null : toBuffer(bytes);
}
