const mostTries = 3000;

/**
 * Makes a finding small: yields inputs, is told of each whether it still shows the finding, and returns the shortest that
 * does. Pieces are left out, halves first.
 */
export function* smaller(found: Buffer, most = mostTries): Generator<Buffer, Buffer, boolean> {
  let best = found;
  let tries = 0;
  for (let size = Math.ceil(best.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < best.length; ) {
      if (++tries > most) return best;
      const candidate = Buffer.concat([best.subarray(0, from), best.subarray(from + size)]);
      if (yield candidate) best = candidate;
      else from += size;
    }
  }
  return best;
}

/** Runs it out where one can tell at once. */
export function smallest(found: Buffer, shows: (bytes: Buffer) => boolean): Buffer {
  const search = smaller(found);
  let step = search.next();
  while (!step.done) step = search.next(shows(step.value));
  return step.value;
}
