/**
 * Says of a moment when the last of these expired before it: asked by that, all are as they are at that moment. Minus infinity
 * if none has.
 * @param expiries milliseconds since the epoch, as the moment
 */
export function lastExpiry(expiries: readonly number[]): (at: number) => number {
  let [from, until] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  return (at) => {
    if (at >= from && at < until) return from;
    from = Number.NEGATIVE_INFINITY;
    until = Number.POSITIVE_INFINITY;
    for (const time of expiries)
      if (time <= at) from = Math.max(from, time);
      else until = Math.min(until, time);
    return from;
  };
}
