import { join } from 'node:path';
import type { HostFacts } from '../../attest-server/wire/facts.ts';
import type { FactsCollector } from './collector.ts';
import { readBounded } from './read-bounded.ts';
import { readSsh } from './ssh.ts';
import { readSysctls } from './sysctls.ts';
import { upkeep } from './upkeep.ts';

/**
 * How the machine and its kernel run: what listens, what the kernel has gone through, how it is set and kept. What cannot be
 * told is left out, with its cause where a policy may need it. A collector of its own: a boot is proven without all this. For
 * one agent: what it remembers of packages is its own.
 */
export function running(): FactsCollector {
  const readUpkeep = upkeep();
  return {
    name: 'running',
    part: null,
    // The kernel walks through all its connections, and a machine may be busy.
    within: 5_000,
    async read(sysroot, signal) {
      const [tainted, ssh, sysctls, kept] = await Promise.all([
        readTainted(sysroot, signal),
        readSsh(sysroot, signal),
        readSysctls(sysroot, signal),
        readUpkeep(sysroot, signal),
      ]);
      const facts: HostFacts = {
        tainted: tainted.mask,
        listening: ssh.listening,
        ssh: ssh.ssh,
        sysctls: Object.keys(sysctls.values).length === 0 ? undefined : sysctls.values,
        ...kept,
        unread: causesOf({ ...ssh.unread, tainted: tainted.unread, sysctls: sysctls.unread }),
      };
      return facts;
    },
  };
}

async function readTainted(
  sysroot: string,
  signal: AbortSignal,
): Promise<{ readonly mask?: number; readonly unread: string | null }> {
  const path = join(sysroot, 'proc/sys/kernel/tainted');
  try {
    const digits = (await readBounded(path, 64, signal))?.toString('latin1').trim();
    if (digits === undefined) return { unread: `${path} is not there` };
    return /^\d{1,15}$/.test(digits)
      ? { mask: Number(digits), unread: null }
      : { unread: `${path} holds no number` };
  } catch (error) {
    signal.throwIfAborted();
    return { unread: error instanceof Error ? error.message : String(error) };
  }
}

/** As facts may hold them. */
function causesOf(unread: Readonly<Record<string, string | null>>): HostFacts['unread'] {
  const causes = Object.entries(unread).flatMap(([name, cause]) =>
    cause === null ? [] : [[name, cause.replace(/[^\x20-\x7e]/g, '?').slice(0, 256)] as const],
  );
  return causes.length === 0 ? undefined : Object.fromEntries(causes);
}
