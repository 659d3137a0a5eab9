import { join } from 'node:path';
import type { HostFacts } from '../../attest-server/protocol/facts.ts';
import { readBounded } from './read-bounded.ts';

const most = 4096;

/** Whether the running kernel may be replaced by another one, as it says itself; what it does not say is left out. */
export async function readLockdown(
  sysroot: string,
): Promise<Pick<HostFacts, 'kexecLoadDisabled' | 'lockdown'>> {
  const [kexec, lockdown] = await Promise.all([
    read(join(sysroot, 'proc/sys/kernel/kexec_load_disabled')),
    read(join(sysroot, 'sys/kernel/security/lockdown')),
  ]);
  const disabled = kexec.trim();
  // All that could be, the one that is in brackets: none [integrity] confidentiality
  const level = /\[(none|integrity|confidentiality)\]/.exec(lockdown)?.[1];
  return {
    ...((disabled === '0' || disabled === '1') && { kexecLoadDisabled: disabled === '1' }),
    ...(isLevel(level) && { lockdown: level }),
  };
}

function isLevel(word: string | undefined): word is NonNullable<HostFacts['lockdown']> {
  return word === 'none' || word === 'integrity' || word === 'confidentiality';
}

/** Empty where the kernel has no such file, or keeps it from us. */
async function read(path: string): Promise<string> {
  const bytes = await readBounded(path, most).catch(() => null);
  return bytes?.toString('utf8') ?? '';
}
