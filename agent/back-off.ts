const baseMs = 250;
const capMs = 30_000;

/**
 * Milliseconds to wait before the next attempt: exponential with full jitter, so that agents which lost the same
 * server do not come back together.
 * @param failures attempts that failed in a row, from 0
 * @param random from [0, 1)
 */
export function backOff(failures: number, random: () => number): number {
  return random() * Math.min(capMs, baseMs * 2 ** Math.min(failures, 16));
}
