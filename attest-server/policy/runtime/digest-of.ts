/** A digest as people write it, in hex digits of one of the hashes that lists have; null for another text. */
export function digestOf(text: string): Buffer | null {
  return /^([0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$/i.test(text)
    ? Buffer.from(text, 'hex')
    : null;
}
