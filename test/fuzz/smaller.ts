const mostTries = 3000;

/**
 * Makes a finding small: pieces are left out, halves first, as long as it still shows.
 * @returns the shortest input that did
 */
export async function smallest(
  found: Buffer,
  shows: (bytes: Buffer) => Promise<boolean>,
  most = mostTries,
): Promise<Buffer> {
  let best = found;
  let tries = 0;
  for (let size = Math.ceil(best.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < best.length; ) {
      if (++tries > most) return best;
      const candidate = Buffer.concat([best.subarray(0, from), best.subarray(from + size)]);
      if (await shows(candidate)) best = candidate;
      else from += size;
    }
  }
  return best;
}
