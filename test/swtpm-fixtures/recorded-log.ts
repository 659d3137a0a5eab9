import { readFileSync } from 'node:fs';

const folder = new URL('../../swtpm-fixtures/recorded/', import.meta.url);

/** The firmware log of a recorded boot. */
export function recordedLog(name: string): Buffer {
  return readFileSync(new URL(`${name}/binary_bios_measurements`, folder));
}
