import { z } from 'zod';
import type { KeyMachine } from './key-machine.ts';

/** Seconds of a boot from the attempt to open its volume until that is mounted. */
export interface BootParts {
  readonly all: number;
  /** Of the programs on that way: their units, and Node.js, until the first line of their logs. */
  readonly start: number;
  /** Of the TPM, with the tools that ask it. */
  readonly tpm: number;
  readonly rest: number;
}

/** Has the kernel record, from the next boot on, when programs begin and end. */
export const traceBoots = `cat >/etc/tmpfiles.d/trace.conf <<'END'
w /sys/kernel/tracing/trace_clock - - - - mono
w /sys/kernel/tracing/events/sched/sched_process_fork/enable - - - - 1
w /sys/kernel/tracing/events/sched/sched_process_exit/enable - - - - 1
END`;

/** Of the boot that there is, which was traced. @param units of the programs on the way, which have ended */
export async function bootParts(machine: KeyMachine, units: readonly string[]): Promise<BootParts> {
  const begun = await machine.time('systemd-cryptsetup@docker', 'InactiveExit');
  const all = ((await machine.time('var-lib-docker.mount', 'ActiveEnter')) - begun) / 1e6;
  const trace = await machine.guest.shell("grep -E 'comm=(node|tpm2_)' /sys/kernel/tracing/trace");
  let [start, tpm] = [0, 0];
  for (const unit of units) {
    start += ((await firstLineOf(machine, unit)) - (await machine.time(unit, 'InactiveExit'))) / 1e6;
    tpm += toolSeconds(trace, await machine.property(unit, 'ExecMainPID'));
  }
  return { all, start, tpm, rest: all - start - tpm };
}

const entry = z.object({ __MONOTONIC_TIMESTAMP: z.coerce.number() });

/** Microseconds of the boot at which a program said its configuration. */
async function firstLineOf({ guest }: KeyMachine, unit: string): Promise<number> {
  const command = `journalctl -b -o json --output-fields=MESSAGE -u ${unit} | grep -m 1 configuration`;
  return entry.parse(JSON.parse(await guest.shell(command))).__MONOTONIC_TIMESTAMP;
}

/** Seconds in which tools of the TPM ran that the process started. */
function toolSeconds(trace: string, process: string): number {
  const forks = new RegExp(`(\\S+): sched_process_fork: .* pid=${process} .* child_pid=(\\d+)`, 'g');
  const began = new Map([...trace.matchAll(forks)].map(([, at, child]) => [child, Number(at)]));
  const ends = trace.matchAll(/(\S+): sched_process_exit: comm=tpm2_\S* pid=(\d+)/g);
  return ends.reduce((sum, [, at, child]) => sum + Number(at) - (began.get(child) ?? Number(at)), 0);
}
