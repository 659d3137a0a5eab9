import { readFileSync } from 'node:fs';

const folder = new URL('../../swtpm-fixtures/recorded/', import.meta.url);

/** The firmware log of a recorded boot. */
export function recordedLog(name: string): Buffer {
  return readFileSync(new URL(`${name}/binary_bios_measurements`, folder));
}

/** The list of IMA of a recorded boot, or beside a recorded quote. */
export function recordedList(name: string): Buffer {
  return readFileSync(new URL(`${name}/binary_runtime_measurements`, folder));
}

/** Recorded boots through shim and GRUB, of machines whose firmware has Secure Boot. */
export const shimGrubBoots: readonly string[] = [
  'debian13-shim-grub',
  'centos9-shim-grub',
  'debian11-shim-grub',
  'debian10-shim-grub',
  'rhel8-shim-grub',
];
