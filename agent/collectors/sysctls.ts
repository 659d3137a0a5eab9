import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type SysctlName, sysctlNames } from '../../attest-server/wire/sysctls.ts';
import { isRunningMachine } from './host-view.ts';
import { readBounded } from './read-bounded.ts';

export interface Sysctls {
  readonly values: Readonly<Partial<Record<SysctlName, string>>>;
  /** Why some could not be read; null if all that the kernel has are there. */
  readonly unread: string | null;
}

/** The sysctls of the list, as far as the kernel has them. */
export async function readSysctls(sysroot: string, signal?: AbortSignal): Promise<Sysctls> {
  // Those of a network are shown as of the network of whoever looks.
  const isForeign = await isInOtherNetwork(sysroot);
  const names = sysctlNames.filter((name) => !(isForeign && name.startsWith('net.')));
  const values: Partial<Record<SysctlName, string>> = {};
  let unread = isForeign ? 'the agent is in another network than the host: net.* are not of the host' : null;
  const read = await Promise.all(
    names.map((name) =>
      readBounded(join(sysroot, 'proc/sys', name.replaceAll('.', '/')), 64, signal).catch(
        (error: unknown) => {
          signal?.throwIfAborted();
          unread ??= error instanceof Error ? error.message : String(error);
          return null;
        },
      ),
    ),
  );
  for (const [index, name] of names.entries()) {
    const value = read[index]?.toString('latin1').trim();
    if (value !== undefined && /^-?\d{1,20}$/.test(value)) values[name] = value;
  }
  return { values, unread };
}

/** False for a recorded tree, in which no process looks. The kernel shows each network at an inode of its own. */
async function isInOtherNetwork(sysroot: string): Promise<boolean> {
  const isRunning = await isRunningMachine(sysroot);
  const inodeOf = (proc: string) =>
    stat(join(proc, 'net/tcp')).then(
      ({ ino }) => ino,
      () => null,
    );
  const self = isRunning ? '/proc/self' : join(sysroot, 'proc/self');
  const [own, ofInit] = await Promise.all([self, join(sysroot, 'proc/1')].map(inodeOf));
  return own !== ofInit && (isRunning || own !== null);
}
