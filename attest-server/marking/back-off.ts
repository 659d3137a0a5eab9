const first = 1000;
const longest = 60_000;

/** Milliseconds to wait after so many failures in a row: twice as long each time, and never all at the same moment. */
export function backOff(failures: number, random: () => number): number {
  const wait = Math.min(longest, first * 2 ** Math.min(failures - 1, 16));
  return wait * (0.8 + 0.4 * random());
}
