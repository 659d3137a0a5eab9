import { mkdir, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';

const bounds = { timeoutMs: 600_000, maxOutputBytes: 8 * 1024 * 1024 };

/** The files of Debian's packages below `root`, and the packages themselves in `packages`. */
export interface DebianRoot {
  readonly root: string;
  readonly packages: string;
}

/**
 * Fetches packages, with all that they depend on, as this machine's apt finds them, and unpacks them. None of their scripts runs.
 * @param dir an empty folder, in which it does so
 * @param names as `apt-get install` takes them
 */
export async function unpackDebian(dir: string, names: readonly string[]): Promise<DebianRoot> {
  const [packages, root] = [join(dir, 'packages'), join(dir, 'root')];
  for (const folder of [join(packages, 'partial'), root]) await mkdir(folder, { recursive: true });
  const options = [
    'Dir::State::status=/dev/null',
    `Dir::Cache::archives=${packages}`,
    'APT::Install-Recommends=false',
    'APT::Sandbox::User=root',
  ].flatMap((option) => ['-o', option]);
  await run('apt-get', ['-qq', ...options, '--download-only', '-y', 'install', ...names], bounds);
  const files = (await readdir(packages)).filter((name) => name.endsWith('.deb'));
  // The links of the merged /usr come first.
  for (const file of files.sort(
    (a, b) => Number(b.startsWith('base-files')) - Number(a.startsWith('base-files')),
  ))
    await run(
      'sh',
      [
        '-c',
        'dpkg-deb --fsys-tarfile "$1" | tar -C "$2" -x --keep-directory-symlink',
        'sh',
        join(packages, file),
        root,
      ],
      bounds,
    );
  return { root, packages };
}

/** Runs a script of bash in it, which finds the packages in `/packages`: whoever runs it is root. @throws Error where it fails */
export async function runInRoot({ root, packages }: DebianRoot, script: string): Promise<void> {
  await mkdir(join(root, 'packages'), { recursive: true });
  await writeFile(join(root, 'script'), prologue + script);
  const mounts = ['dev', 'proc', 'sys'].map((name) => `mount --rbind /${name} "$1/${name}"`);
  mounts.push('mount --bind "$2" "$1/packages"');
  await run(
    'unshare',
    ['--mount', 'sh', '-c', `${mounts.join(' && ')} && chroot "$1" /bin/bash /script`, 'sh', root, packages],
    bounds,
  );
  await rm(join(root, 'script'));
  await rmdir(join(root, 'packages'));
}

/** What the scripts of packages find, where they ran. */
const prologue = `set -e
export PATH=/usr/sbin:/usr/bin LC_ALL=C
cp /usr/share/base-passwd/passwd.master /etc/passwd
cp /usr/share/base-passwd/group.master /etc/group
mkdir -p /tmp /var/tmp /run
ldconfig
`;
