import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** A trace of a key of a volume: the name of a key in the kernel, or of a file; never what it holds. */
export interface KeyResidue {
  readonly where: 'keyring' | 'file';
  readonly name: string;
}

/**
 * Keys in /proc/keys (proc(5)) that open a volume. A key of type `user` gives what it holds to who may read it; one of
 * type `logon` gives it to the kernel only, and is normal for as long as its mapping is there.
 * @returns names as cryptsetup writes them: `%user:…`
 * @param active UUIDs of the volumes that are open
 * @param named descriptions of keys that a LUKS2 token names: each opens its volume
 */
export function parseKeyResidue(
  bytes: Buffer,
  active: ReadonlySet<string>,
  named: ReadonlySet<string>,
): readonly KeyResidue[] {
  const found = new Set<string>();
  for (const line of bytes.toString('latin1').split('\n')) {
    // serial flags usage time-out permissions uid gid type description: bytes
    const [, flags = '', left = '', type, said] =
      /^\s*[0-9a-f]{1,8} (\S{7})\s+\d+\s+(\S+)\s+[0-9a-f]{1,8}\s+-?\d+\s+-?\d+ (\S+)\s+(.*)$/.exec(line) ??
      [];
    if ((type !== 'user' && type !== 'logon') || said === undefined) continue;
    const name = said.replace(/: \d+$/, '');
    const isGone = left === 'expd' || /[RDi]/.test(flags);
    // systemd-cryptsetup caches a passphrase typed at the console for 150 seconds, for the next volume.
    const endsSoon = name === 'cryptsetup' && /^(?:\d+s|[0-2]m)$/.test(left);
    const uuid = /^cryptsetup:([0-9a-fA-F-]{36})/.exec(name)?.[1]?.toLowerCase();
    const opens = /^cryptsetup(?:[:.-]|$)/.test(name) || named.has(name);
    const isNormal = type === 'logon' && uuid !== undefined && active.has(uuid);
    if (isGone || endsSoon || !opens || isNormal) continue;
    found.add(`%${type}:${name}`);
  }
  return [...found].map((name) => ({ where: 'keyring' as const, name: name.slice(0, 4096) }));
}

/** Where keys of volumes are left, below the root. `*` is one folder of any name; one level each. */
const places: readonly (readonly [folder: string, file: RegExp])[] = [
  // systemd-cryptsetup takes a key file from here; systemd itself puts none here.
  ['run/cryptsetup-keys.d', /./],
  ['run', /\.key(?:file)?$|^luks.*key|^key.*luks|^crypt.*key/i],
  // Locks lie here too, such as L_254:48.
  ['run/cryptsetup', /key|\.bin$|luks/i],
  ['run/cryptsetup*', /key|\.bin$|luks/i],
  ['run/systemd/cryptsetup*', /key|\.bin$|luks/i],
  ['run/initramfs', /\.key(?:file)?$|luks.*key/i],
  ['run/credentials/*', /^cryptsetup\.(?:passphrase|luks2-pin|tpm2-pin|fido2-pin|pkcs11-pin)$/],
];
const mostEntries = 4096;

/** Files of the places above, by path; what may not be looked at is reported. */
export async function readKeyFiles(
  sysroot: string,
): Promise<{ readonly residue: readonly KeyResidue[]; readonly faults: readonly string[] }> {
  const faults: string[] = [];
  const found = new Set<string>();
  for (const [pattern, file] of places)
    for (const folder of await foldersOf(sysroot, pattern, faults))
      for (const name of await list(join(sysroot, folder), faults))
        if (file.test(name) && (await isFile(join(sysroot, folder, name)))) found.add(`/${folder}/${name}`);
  return { residue: [...found].map((name) => ({ where: 'file' as const, name })), faults };
}

async function foldersOf(sysroot: string, pattern: string, faults: string[]): Promise<readonly string[]> {
  const at = pattern.lastIndexOf('/');
  if (!pattern.endsWith('*')) return [pattern];
  const [parent, begin] = [pattern.slice(0, at), pattern.slice(at + 1, -1)];
  const names = await list(join(sysroot, parent), faults);
  return names.filter((name) => name.startsWith(begin)).map((name) => `${parent}/${name}`);
}

async function list(folder: string, faults: string[]): Promise<readonly string[]> {
  try {
    const names = await readdir(folder);
    if (names.length > mostEntries) faults.push(`${folder} has ${names.length} entries`);
    return names.slice(0, mostEntries);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : '';
    if (code !== 'ENOENT' && code !== 'ENOTDIR')
      faults.push(error instanceof Error ? error.message : String(error));
    return [];
  }
}

/** A link to a key counts as well: it says where one is. */
async function isFile(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => null);
  return found?.isFile() === true || found?.isSymbolicLink() === true;
}
