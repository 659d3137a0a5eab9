import { readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '../agent-error.ts';

/**
 * Makes sure that no key outlives this program: neither in a core dump nor in swap that is not encrypted.
 * @throws AgentError `key_memory`, naming what to do
 */
export async function checkMemory(): Promise<void> {
  const limits = await readFile('/proc/self/limits', 'utf8');
  const core = /^Max core file size\s+(\S+)\s+(\S+)/m.exec(limits);
  if (core?.[1] !== '0')
    throw new AgentError(
      'key_memory',
      `a core dump of up to ${core?.[1] ?? 'unknown'} bytes could keep the key: set LimitCORE=0 in the unit (ulimit -c 0)`,
    );
  const swaps = (await readFile('/proc/swaps', 'utf8')).split('\n').slice(1);
  for (const line of swaps) {
    const [device = ''] = line.split(/\s/);
    if (device === '' || (await isSafe(device))) continue;
    throw new AgentError(
      'key_memory',
      `${device} is swap that is not encrypted, and could keep the key: swapoff ${device}, or use zram or dm-crypt`,
    );
  }
}

/** Memory that is compressed, or a device mapper volume of dm-crypt. */
async function isSafe(device: string): Promise<boolean> {
  const name = (await readlink(device).catch(() => device)).split('/').at(-1) ?? '';
  if (/^zram\d+$/.test(name)) return true;
  const uuid = await readFile(join('/sys/class/block', name, 'dm/uuid'), 'utf8').catch(() => '');
  return uuid.startsWith('CRYPT-');
}
