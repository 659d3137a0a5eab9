/**
 * The time around `at` in which no reference expires: a judgement that is remembered holds as long.
 * @param expiries milliseconds since the epoch, as `at`
 */
export function spanAround(expiries: readonly number[], at: number): readonly [from: number, until: number] {
  let from = Number.NEGATIVE_INFINITY;
  let until = Number.POSITIVE_INFINITY;
  for (const time of expiries)
    if (time <= at) from = Math.max(from, time);
    else until = Math.min(until, time);
  return [from, until];
}
