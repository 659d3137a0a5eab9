/**
 * CPU time, milliseconds a run; the works take turns, so that a busy machine slows all of them.
 * @param quantile which of the times, sorted: the median where nothing is said
 */
export function interleaved(
  works: readonly (() => unknown)[],
  {
    warmUp,
    rounds,
    quantile = 0.5,
  }: { readonly warmUp: number; readonly rounds: number; readonly quantile?: number },
): readonly number[] {
  const times = works.map((): number[] => []);
  for (let round = -warmUp; round < rounds; round++)
    for (const [index, work] of works.entries()) {
      const took = cpuMs(work);
      if (round >= 0) times[index]?.push(took);
    }
  return times.map((each) => quantileOf(each, quantile));
}

function cpuMs(work: () => unknown): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

export function median(values: readonly number[]): number {
  return quantileOf(values, 0.5);
}

function quantileOf(values: readonly number[], quantile: number): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length * quantile)] ?? Number.NaN;
}
