import { readFileSync } from 'node:fs';

export interface TimeSpent {
  /** Milliseconds since this process began. */
  readonly ms: number;
  /** CPU time, milliseconds: of this process and of all that it started and that have ended. */
  readonly cpuMs: number;
}

export function timeSpent(): TimeSpent {
  // proc_pid_stat(5): user and system time are fields 14 and 15, those of children 16 and 17, in hundredths of a second.
  const [, after = ''] = readFileSync('/proc/self/stat', 'utf8').split(') ');
  const ticks = after.split(' ').slice(11, 15);
  return {
    ms: Math.round(performance.now()),
    cpuMs: ticks.reduce((sum, each) => sum + Number(each) * 10, 0),
  };
}

/** From an earlier moment to a later one. */
export function between(earlier: TimeSpent, later: TimeSpent): TimeSpent {
  return { ms: later.ms - earlier.ms, cpuMs: later.cpuMs - earlier.cpuMs };
}

export function sum(one: TimeSpent, other: TimeSpent): TimeSpent {
  return { ms: one.ms + other.ms, cpuMs: one.cpuMs + other.cpuMs };
}
