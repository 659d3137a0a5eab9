import { join } from 'node:path';
import { readBounded } from './read-bounded.ts';

/** Below the root. */
const path = 'proc/sys/kernel/random/boot_id';

/** The kernel's name for this boot. @throws Error if there is none */
export async function readBootId(sysroot: string): Promise<string> {
  const id = (await readBounded(join(sysroot, path), 128))?.toString('latin1').trim() ?? '';
  if (/^[0-9a-f-]{36}$/.test(id)) return id;
  throw new Error(`${join(sysroot, path)} holds no boot id`);
}
