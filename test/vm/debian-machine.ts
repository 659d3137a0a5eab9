import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';
import { runInRoot, unpackDebian } from './debian-root.ts';
import { type Files, serialShell } from './guest-image.ts';

/** What boots a Debian system of systemd: `machine.boot(files, { disks: [disk, …] })`, with further disks from /dev/vdc on. */
export interface DebianMachine {
  /** Of the disk that firmware boots: systemd-boot, and the kernel and the initrd of the system. */
  readonly files: Files;
  /** Image of its root file system, 3 GiB. */
  readonly disk: string;
}

/** What a server has that was installed without any choice, and what `Guest.shell` needs: xxd. */
const base =
  '?essential apt dbus udev systemd systemd-sysv initramfs-tools zstd systemd-boot-efi iproute2 xxd';

const shellUnit = `[Unit]
Description=Shell of the tests
[Service]
Environment=HOME=/root LC_ALL=C.UTF-8
ExecStart=/usr/local/sbin/serial-shell
[Install]
WantedBy=multi-user.target
`;

/** As Debian's installer goes about it: all is unpacked, then configured, which makes the initrd. */
const install = `export DEBIAN_FRONTEND=noninteractive
mkdir -p /var/lib/dpkg/info /var/lib/dpkg/updates
touch /var/lib/dpkg/status
dpkg --force-depends --force-unsafe-io --unpack /packages/*.deb
dpkg --force-unsafe-io --configure --pending
dpkg --audit
echo debian >/etc/hostname
printf '127.0.0.1 localhost debian\\n' >/etc/hosts
cat >/usr/local/sbin/serial-shell <<'END'
#!/bin/sh
${serialShell}END
chmod 755 /usr/local/sbin/serial-shell
cat >/etc/systemd/system/serial-shell.service <<'END'
${shellUnit}END
systemctl enable serial-shell
`;

const cache = join(import.meta.dirname, '../../node_modules/.cache/debian-machines');
const label = 'debian';
const entry = `title Debian\nlinux /vmlinuz\ninitrd /initrd.img\noptions root=LABEL=${label} rw console=ttyS0 no_timer_check panic=-1\n`;

/**
 * Makes a Debian system out of its packages, which takes a minute: whoever runs it is root. It is kept in node_modules/.cache, and
 * found there until something else is asked for.
 * @param name of its folder there
 * @param packages that it has beside those of any system, as `apt-get install` takes them
 * @param kernel its package
 */
export async function debianMachine(
  name: string,
  packages: readonly string[],
  kernel = 'linux-image-cloud-amd64',
): Promise<DebianMachine> {
  const there = join(cache, name);
  const names = [...base.split(' '), kernel, ...packages];
  const madeOf = `${names.join(' ')}\n${install}`;
  const isThere = (await readFile(join(there, 'made-of'), 'utf8').catch(() => null)) === madeOf;
  if (!isThere) await make(there, names, madeOf);
  const read = (file: string) => readFile(join(there, file));
  return {
    files: {
      'EFI/BOOT/BOOTX64.EFI': await read('loader.efi'),
      'loader/loader.conf': 'timeout 0\n',
      'loader/entries/linux.conf': entry,
      vmlinuz: await read('vmlinuz'),
      'initrd.img': await read('initrd.img'),
    },
    disk: join(there, 'disk.img'),
  };
}

/** Another program that makes the same at this time makes a folder of its own. */
async function make(there: string, names: readonly string[], madeOf: string): Promise<void> {
  await mkdir(cache, { recursive: true });
  const part = await mkdtemp(`${there}-`);
  try {
    const unpacked = await unpackDebian(part, names);
    await runInRoot(unpacked, install);
    const ready = join(part, 'ready');
    await mkdir(ready);
    const bounds = { timeoutMs: 180_000, maxOutputBytes: 65_536 };
    const take = (path: string, as: string) =>
      run('sh', ['-c', 'cp $1 "$2"', 'sh', `${unpacked.root}/${path}`, join(ready, as)], bounds);
    await take('boot/vmlinuz-*', 'vmlinuz');
    await take('boot/initrd.img-*', 'initrd.img');
    await take('usr/lib/systemd/boot/efi/systemd-bootx64.efi', 'loader.efi');
    const options = ['-q', '-t', 'ext4', '-L', label, '-E', 'root_owner=0:0', '-d', unpacked.root];
    await run('mke2fs', [...options, join(ready, 'disk.img'), '3G'], bounds);
    await writeFile(join(ready, 'made-of'), madeOf);
    await rm(there, { recursive: true, force: true });
    await rename(ready, there);
  } finally {
    await rm(part, { recursive: true, force: true });
  }
}
