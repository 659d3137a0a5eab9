/** How an input is built, which decides how it is changed. */
export interface Form {
  readonly kind: 'big-endian' | 'little-endian' | 'der' | 'text' | 'json';
  /** Where its records begin, ascending, where it has any: they are left out, repeated, moved and taken from others. */
  readonly records?: (bytes: Buffer) => readonly number[];
  /** Words that its recordings lack. */
  readonly words?: readonly string[];
}
