import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { resolveBelow } from './below-root.ts';
import { readBounded } from './read-bounded.ts';
import { portBehind, portOf, type SshPort } from './ssh-ports.ts';

/** Where systemd looks for units, the folder that wins first; below the root. */
const unitFolders = [
  'etc/systemd/system',
  'run/systemd/system',
  'run/systemd/generator',
  'usr/local/lib/systemd/system',
  'usr/lib/systemd/system',
  'lib/systemd/system',
];
/** Units by which systemd listens for an SSH daemon. */
const sshUnit = /^(?:ssh|sshd|dropbear)[\w@:.-]{0,64}\.socket$/;
const mostBytes = 64 * 1024;
const mostEntries = 8192;
const mostUnits = 32;
const mostDropIns = 64;

/**
 * The ports of systemd's socket units for SSH, with their drop-ins; empty if there are none. A unit that is masked has none.
 * @throws Error if a unit or a folder may not be read, is none of systemd's, or there are too many
 */
export async function readSocketPorts(sysroot: string, signal?: AbortSignal): Promise<readonly SshPort[]> {
  const units = new Map<string, string>();
  const dropIns = new Map<string, string[]>();
  for (const folder of unitFolders)
    for (const name of await namesIn(sysroot, folder, signal)) {
      const path = `${folder}/${name}`;
      const unit = name.endsWith('.d') ? name.slice(0, -2) : name;
      if (!sshUnit.test(unit)) continue;
      if (unit === name) {
        if (!units.has(name)) units.set(name, path);
      } else dropIns.set(unit, [...(dropIns.get(unit) ?? []), path]);
    }
  if (units.size > mostUnits) throw new Error(`there are more than ${mostUnits} socket units for SSH`);
  const ports: SshPort[] = [];
  for (const [unit, path] of units) {
    if ((await resolveBelow(sysroot, path)) === join(sysroot, 'dev/null')) continue;
    const files = [path, ...(await dropInsOf(sysroot, dropIns.get(unit) ?? [], signal))];
    let ofUnit: SshPort[] = [];
    for (const file of files) {
      const bytes = await readBounded(await resolveBelow(sysroot, file), mostBytes, signal);
      // It stands in its folder, so that a link of it leads to where the agent cannot look.
      if (bytes === null) throw new Error(`/${file} leads nowhere`);
      const { resets, ports: ofFile } = parseSocketUnit(bytes.toString('utf8'), `/${file}`);
      if (resets) ofUnit = [];
      ofUnit.push(...ofFile.map((port) => ({ port, source: `/${file}` })));
    }
    ports.push(...ofUnit);
  }
  return ports;
}

/** The drop-ins of all folders, by name: a file of the folder that wins hides others of its name. */
async function dropInsOf(
  sysroot: string,
  folders: readonly string[],
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const byName = new Map<string, string>();
  for (const folder of folders)
    for (const name of await namesIn(sysroot, folder, signal))
      if (name.endsWith('.conf') && !byName.has(name)) byName.set(name, `${folder}/${name}`);
  if (byName.size > mostDropIns) throw new Error(`${folders[0]} has more than ${mostDropIns} files`);
  return [...byName].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, path]) => path);
}

/**
 * One file of a socket unit. @param path for the error
 * @returns `resets`: an empty `ListenStream=` takes back what stood before, in files before this one too
 * @throws Error naming the line
 */
export function parseSocketUnit(
  text: string,
  path: string,
): { readonly resets: boolean; readonly ports: readonly number[] } {
  if (text.includes('\0')) throw new Error(`${path} is no text`);
  let resets = false;
  let ports: number[] = [];
  let section = '';
  for (const [index, line] of joined(text).entries()) {
    if (line === '' || line.startsWith('#') || line.startsWith(';')) continue;
    const heading = /^\[([^\]]*)\]$/.exec(line)?.[1];
    if (heading !== undefined) section = heading;
    const [, name, value = ''] = /^([A-Za-z]+)\s*=\s*(.*)$/.exec(line) ?? [];
    if (section !== 'Socket' || name !== 'ListenStream') continue;
    if (value === '') {
      resets = true;
      ports = [];
      continue;
    }
    // A socket of the file system, an abstract one, and one of the hypervisor are no ports of a network.
    if (/^[/@%]|^vsock:/.test(value)) continue;
    const port = portOf(/^\d+$/.test(value) ? value : (portBehind(value) ?? ''));
    if (port === null) throw new Error(`${path}: line ${index + 1}: ListenStream names no port`);
    ports.push(port);
  }
  return { resets, ports };
}

/** A backslash at the end of a line continues it. The line number is that of what was joined. */
function joined(text: string): readonly string[] {
  return text
    .replace(/\\\n/g, ' ')
    .split('\n')
    .map((line) => line.trim());
}

async function namesIn(sysroot: string, folder: string, signal?: AbortSignal): Promise<readonly string[]> {
  signal?.throwIfAborted();
  const names = await readdir(await resolveBelow(sysroot, folder)).catch((error: unknown) => {
    const code = error instanceof Error && 'code' in error ? error.code : '';
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  });
  if (names.length > mostEntries) throw new Error(`/${folder} has more than ${mostEntries} entries`);
  return names;
}
