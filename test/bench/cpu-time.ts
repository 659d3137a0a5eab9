/** Medians of CPU time, milliseconds a run; the works take turns, so that a busy machine slows all of them. */
export function interleaved(
  works: readonly (() => unknown)[],
  { warmUp, rounds }: { readonly warmUp: number; readonly rounds: number },
): readonly number[] {
  const times = works.map((): number[] => []);
  for (let round = -warmUp; round < rounds; round++)
    for (const [index, work] of works.entries()) {
      const took = cpuMs(work);
      if (round >= 0) times[index]?.push(took);
    }
  return times.map(median);
}

/** CPU time of one run, milliseconds. */
export function cpuMs(work: () => unknown): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** 99 of 100 values are at most this. */
export function p99(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.ceil(values.length * 0.99) - 1] ?? Number.NaN;
}
