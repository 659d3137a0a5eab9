import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';

/** An initrd that a Debian system made for itself, and the packages of that system, until it is disposed of. */
export interface DebianInitrd extends AsyncDisposable {
  readonly image: Buffer;
  /** Folder of its packages. */
  readonly packages: string;
}

const bounds = { timeoutMs: 600_000, maxOutputBytes: 8 * 1024 * 1024 };
const base =
  'linux-image-cloud-amd64 zstd mdadm lvm2 base-files base-passwd bash coreutils dash libc-bin sed grep gzip findutils util-linux mount procps hostname mawk e2fsprogs kbd udev btrfs-progs';
const makers = {
  'initramfs-tools': {
    packages: `${base} initramfs-tools cryptsetup-initramfs busybox`,
    make: 'mkinitramfs -o /tmp/initrd.img $version',
  },
  dracut: {
    packages: `${base} dracut-core cryptsetup-bin systemd-cryptsetup systemd systemd-sysv libkmod2 cpio xz-utils`,
    make: 'dracut --force --no-hostonly --zstd --add "crypt lvm mdraid" /tmp/initrd.img $version',
  },
} as const;

/** In a root of its own, made of packages of Debian's archive: whoever runs it is root. @param words of initramfs.conf */
export async function debianInitrd(by: keyof typeof makers, words = ''): Promise<DebianInitrd> {
  const dir = await mkdtemp(join(tmpdir(), 'assay-initrd-'));
  const remove = () => rm(dir, { recursive: true, force: true });
  try {
    const { packages: names, make } = makers[by];
    const [packages, root] = [join(dir, 'packages'), join(dir, 'root')];
    for (const folder of [join(packages, 'partial'), root]) await mkdir(folder, { recursive: true });
    const options = [
      'Dir::State::status=/dev/null',
      `Dir::Cache::archives=${packages}`,
      'APT::Install-Recommends=false',
      'APT::Sandbox::User=root',
    ].flatMap((option) => ['-o', option]);
    await run(
      'apt-get',
      ['-qq', ...options, '--download-only', '-y', 'install', ...names.split(' ')],
      bounds,
    );
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
    await writeFile(join(root, 'make'), makeScript(make, words), { mode: 0o755 });
    const mounts = ['dev', 'proc', 'sys'].map((name) => `mount --rbind /${name} "$1/${name}"`).join(' && ');
    await run('unshare', ['--mount', 'sh', '-c', `${mounts} && chroot "$1" /make`, 'sh', root], bounds);
    return {
      image: await readFile(join(root, 'tmp/initrd.img')),
      packages,
      [Symbol.asyncDispose]: remove,
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

function makeScript(make: string, words: string): string {
  return `#!/bin/bash
set -e
version=$(ls /usr/lib/modules)
cp /usr/share/base-passwd/passwd.master /etc/passwd
cp /usr/share/base-passwd/group.master /etc/group
ln -sf mawk /usr/bin/awk
echo 'cryptroot UUID=12345678-1234-1234-1234-123456789abc none luks,initramfs' >/etc/crypttab
echo '/dev/mapper/cryptroot / ext4 defaults 0 1' >/etc/fstab
if [ -d /etc/initramfs-tools ]; then
  printf '${words}' >>/etc/initramfs-tools/initramfs.conf
  printf 'dm_mod\\ndm_crypt\\nvirtio_blk\\next4\\n' >>/etc/initramfs-tools/modules
fi
mkdir -p /tmp /var/tmp /run
ldconfig
depmod "$version"
${make}
`;
}
