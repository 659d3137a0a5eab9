import { readFile } from 'node:fs/promises';

/** Milliseconds of processor time. */
export interface ProcessTime {
  readonly own: number;
  /** Of children that have ended, and of theirs. */
  readonly children: number;
}

/** proc_pid_stat(5): clock ticks are hundredths of a second on Linux. */
export async function timeOf(pid: number): Promise<ProcessTime> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = (at: number) => Number(fields[at - 3]);
  return { own: 10 * (ticks(14) + ticks(15)), children: 10 * (ticks(16) + ticks(17)) };
}

/** MiB that it holds, and its share of what it holds together with others. */
export async function memoryOf(pid: number): Promise<{ readonly rss: number; readonly pss: number }> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'latin1');
  const of = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(rollup)?.[1]) / 1024;
  return { rss: of('Rss'), pss: of('Pss') };
}
