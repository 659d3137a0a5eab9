import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runInRoot, unpackDebian } from './debian-root.ts';

/** An initrd that a Debian system made for itself, and the packages of that system, until it is disposed of. */
export interface DebianInitrd extends AsyncDisposable {
  readonly image: Buffer;
  /** Folder of its packages. */
  readonly packages: string;
}

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
    const unpacked = await unpackDebian(dir, names.split(' '));
    await runInRoot(unpacked, makeScript(make, words));
    return {
      image: await readFile(join(unpacked.root, 'tmp/initrd.img')),
      packages: unpacked.packages,
      [Symbol.asyncDispose]: remove,
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

function makeScript(make: string, words: string): string {
  return `version=$(ls /usr/lib/modules)
ln -sf mawk /usr/bin/awk
echo 'cryptroot UUID=12345678-1234-1234-1234-123456789abc none luks,initramfs' >/etc/crypttab
echo '/dev/mapper/cryptroot / ext4 defaults 0 1' >/etc/fstab
if [ -d /etc/initramfs-tools ]; then
  printf '${words}' >>/etc/initramfs-tools/initramfs.conf
  printf 'dm_mod\\ndm_crypt\\nvirtio_blk\\next4\\n' >>/etc/initramfs-tools/modules
fi
depmod "$version"
${make}
`;
}
