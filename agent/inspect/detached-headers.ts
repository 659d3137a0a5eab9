import { readdir, realpath } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { readBounded } from '../collectors/read-bounded.ts';

/** Bounds: bytes of one file, and the number of units. */
const most = { bytes: 1024 * 1024, units: 256 };
const generated = 'run/systemd/generator';

/**
 * Where the headers of mappings lie that have none on their device, by the mapping's name: what crypttab(5) says, and
 * the units that systemd made of it and of the kernel's command line. `cryptsetup open --header` leaves no trace.
 */
export async function readHeaderPaths(sysroot: string): Promise<ReadonlyMap<string, string>> {
  const text = async (path: string) =>
    (await readBounded(join(sysroot, path), most.bytes))?.toString('utf8') ?? '';
  const units = (await readdir(join(sysroot, generated)).catch(() => []))
    .filter((name) => name.startsWith('systemd-cryptsetup@'))
    .slice(0, most.units);
  const texts = await Promise.all(units.map((name) => text(`${generated}/${name}`)));
  return new Map([...texts.flatMap(parseUnit), ...parseCrypttab(await text('etc/crypttab'))]);
}

/** Name, device, key file, options: told apart by blanks. */
export function parseCrypttab(text: string): readonly (readonly [mapping: string, header: string])[] {
  return text.split('\n').flatMap((line) => {
    const [name = '', , , options = ''] = line.trim().split(/\s+/);
    const header = name.startsWith('#') ? null : headerOf(options);
    return header === null ? [] : [[name, header] as const];
  });
}

/** ExecStart=…/systemd-cryptsetup attach 'name' 'device' 'key file' 'options' */
function parseUnit(text: string): readonly (readonly [string, string])[] {
  return text.split('\n').flatMap((line) => {
    const words = [...line.matchAll(/'([^']*)'/g)].map(([, word = '']) => word);
    const [name, , , options = ''] = words;
    const header = /^ExecStart=\S*systemd-cryptsetup attach /.test(line) ? headerOf(options) : null;
    return name === undefined || header === null ? [] : [[name, header] as const];
  });
}

/** Null for one on a device of its own (`/path:LABEL=…`), which is found among the devices or not at all. */
function headerOf(options: string): string | null {
  const path = options
    .split(',')
    .find((option) => option.startsWith('header='))
    ?.slice('header='.length);
  return path !== undefined && /^\/[^:\0]{1,4095}$/.test(path) ? path : null;
}

/** Where it lies below the root, links followed. @throws Error for one that leads out; what the file system throws */
export async function insideRoot(sysroot: string, path: string): Promise<string> {
  const root = await realpath(sysroot);
  const real = await realpath(join(root, path));
  if (relative(root, real).split('/')[0] === '..') throw new Error(`${path} leads out of ${root}`);
  return real;
}
