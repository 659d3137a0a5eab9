import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { AgentError } from '../agent-error.ts';
import { deviceOf } from '../inspect/block-devices.ts';

/**
 * Makes sure that no key outlives this program: neither in a core dump nor in swap of the node that is not encrypted.
 * @param sysroot stands for `/` of the node @param limitsFile the limits of this process
 * @throws AgentError `key_memory`, naming what to do
 */
export async function checkMemory(sysroot: string, limitsFile = '/proc/self/limits'): Promise<void> {
  const limits = await readFile(limitsFile, 'utf8');
  const core = /^Max core file size\s+(\S+)\s+(\S+)/m.exec(limits);
  if (core?.[1] !== '0')
    throw new AgentError(
      'key_memory',
      `a core dump of up to ${core?.[1] ?? 'unknown'} bytes could keep the key: set LimitCORE=0 in the unit (ulimit -c 0)`,
    );
  const swaps = (await readFile(join(sysroot, '/proc/swaps'), 'utf8')).split('\n').slice(1);
  for (const line of swaps) {
    const [area = ''] = line.split(/\s/);
    if (area === '') continue;
    const device = await deviceBelow(sysroot, area);
    if (device !== null && (await isSafe(sysroot, device))) continue;
    throw new AgentError(
      'key_memory',
      `${area} is swap that is not encrypted, and could keep the key: swapoff ${area}, or use zram or dm-crypt`,
    );
  }
}

/** The folder in sysfs of the device on which a swap area lies, be it a file; null if that is unknown. */
async function deviceBelow(sysroot: string, area: string): Promise<string | null> {
  if (area.startsWith('/dev/')) return join(sysroot, '/sys/class/block', basename(area));
  const found = await stat(join(sysroot, area)).catch(() => null);
  return found === null ? null : join(sysroot, '/sys/dev/block', deviceOf(found.dev));
}

/** Memory that is compressed and written to no disk, dm-crypt, or what lies on nothing but these, such as LVM. */
async function isSafe(sysroot: string, device: string): Promise<boolean> {
  const text = (name: string) => readFile(join(device, name), 'utf8').catch(() => '');
  const name = basename(await realpath(device).catch(() => ''));
  if (/^zram\d+$/.test(name)) return /^(none)?$/.test((await text('backing_dev')).trim());
  if ((await text('dm/uuid')).startsWith('CRYPT-')) return true;
  const below = await readdir(join(device, 'slaves')).catch(() => []);
  const safe = await Promise.all(
    below.map((slave) => isSafe(sysroot, join(sysroot, '/sys/class/block', slave))),
  );
  return safe.length > 0 && safe.every(Boolean);
}
