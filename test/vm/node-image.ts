import {
  chmod,
  copyFile,
  cp,
  lstat,
  mkdir,
  readdir,
  readFile,
  realpath,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { run } from 'node-tpm2/run';
import type { DebianKernel } from './debian-kernel.ts';
import { guestArchive, serialShell } from './guest-image.ts';

/** Programs of this machine that the node has, besides busybox for all else. */
const programs = [
  ...[
    'cryptsetup',
    'dmsetup',
    'lvm',
    'mke2fs',
    'nft',
    'ip',
    'setpriv',
    'flock',
    'mount',
    'umount',
    'modprobe',
  ],
  ...['iptables-nft', 'iptables-legacy', 'tpm2', 'findmnt'],
];
/** Programs by another name: each goes by the name that it is called by. */
const names: Readonly<Record<string, readonly string[]>> = {
  'iptables-nft': [
    'iptables-nft-save',
    'ip6tables-nft-save',
    'iptables-save',
    'ip6tables-save',
    'ip6tables-nft',
  ],
  'iptables-legacy': ['iptables-legacy-save', 'ip6tables-legacy-save', 'ip6tables-legacy'],
  lvm: ['pvcreate', 'vgcreate', 'lvcreate', 'vgchange'],
  mke2fs: ['mkfs.ext4'],
};
/** Loaded by name from other programs. */
const libraries = [/^libtss2-tcti-device\.so\.0/];
/** What the disks, the network and the firewall of the node need of its kernel. */
const modules =
  /\/(?:dm-[a-z-]+|xts|ecb|crypto_null|loop|virtio_net|net_failover|failover|nf_tables|nf_conntrack|nf_defrag_ipv[46]|nfnetlink|nft_[a-z_]+|x_tables|xt_[a-z]+|ip6?_tables|ip6?table_filter|aesni-intel|cryptd|libcrc32c|crc32c_generic|ipt_REJECT|ip6t_REJECT|nf_reject_ipv[46])\.ko\.xz$/;

/** Groups and users that the units of manifests/host make. */
const passwd = 'root:x:0:0::/root:/bin/sh\nassay:x:65532:65532::/:/bin/false\n';
const group = 'root:x:0:\nassay:x:65532:\n';

/**
 * Pid 1 of the node: makes what an init system makes, then does what its second serial port says.
 */
const init = `#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs tmp /tmp
mkdir -p /run/lock /run/cryptsetup /run/lvm /run/assay
mount -t securityfs securityfs /sys/kernel/security
ip link set lo up
for module in crypto_null ecb dm-mod; do modprobe $module; done
modprobe virtio_net
modprobe dm-crypt
modprobe loop
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
${serialShell}`;

/** The first stage: loads the driver of its disks, and goes on in the file system of the second one. */
const firstStage = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
insmod /virtio_blk.ko
n=0
while [ ! -b /dev/vdb ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done
mount -t ext4 -o rw,noatime /dev/vdb /root
mount --move /dev /root/dev
mount --move /proc /root/proc
mount --move /sys /root/sys
exec switch_root /root /sbin/node-init
`;

/** The initrd of a node. */
export async function nodeInitrd({ modules: folder }: Pick<DebianKernel, 'modules'>): Promise<Buffer> {
  const driver = await run('xz', ['-dc', join(folder, 'kernel/drivers/block/virtio_blk.ko.xz')], {
    timeoutMs: 30_000,
    maxOutputBytes: 16 * 1024 * 1024,
  });
  return guestArchive(
    { init: firstStage, 'bin/busybox': await readFile('/usr/bin/busybox'), 'virtio_blk.ko': driver.stdout },
    ['root'],
  );
}

/**
 * Writes an image of the node's root file system: this machine's programs with their libraries, the pinned Node and the
 * agent as `npm run build` compiles it.
 * @param folder a new one; the image is `${folder}.img`
 * @param files of the node's own, by path
 */
export async function writeNodeImage(
  folder: string,
  kernel: DebianKernel,
  files: Readonly<Record<string, string>>,
): Promise<string> {
  const bounds = { timeoutMs: 180_000, maxOutputBytes: 1024 * 1024 };
  const root = (...path: readonly string[]) => join(folder, ...path);
  for (const path of ['usr/bin', 'usr/lib', 'usr/lib64', 'etc', 'proc', 'sys', 'dev', 'run', 'tmp', 'root'])
    await mkdir(root(path), { recursive: true });
  await mkdir(root('var/lib/docker'), { recursive: true });
  await mkdir(root('var/lib/assay-agent'), { recursive: true, mode: 0o700 });
  for (const name of ['bin', 'sbin', 'lib', 'lib64'])
    await symlink(name === 'sbin' ? 'usr/bin' : `usr/${name}`, root(name));
  await symlink('bin', root('usr/sbin'));
  await copyFile('/usr/bin/busybox', root('usr/bin/busybox'));
  const { stdout: applets } = await run('/usr/bin/busybox', ['--list'], bounds);
  for (const applet of applets.toString().split('\n').filter(isName))
    await symlink('busybox', root('usr/bin', applet));
  const needed = new Set<string>();
  const add = async (path: string, name: string) => {
    const real = await realpath(path);
    const file = root('usr/bin', basename(real));
    await unlink(file).catch(() => undefined);
    await copyFile(real, file);
    if (basename(real) !== name) await replaceLink(root('usr/bin', name), basename(real));
    for (const library of await librariesOf(real)) needed.add(library);
  };
  for (const name of programs) {
    await add(await programPath(name), name);
    for (const other of names[name] ?? [])
      await replaceLink(root('usr/bin', other), basename(await realpath(await programPath(name))));
  }
  for (const name of await readdir('/usr/bin'))
    if (name.startsWith('tpm2_')) await replaceLink(root('usr/bin', name), 'tpm2');
  await add(process.execPath, 'node');
  const triplet = '/usr/lib/x86_64-linux-gnu';
  for (const name of await readdir(triplet))
    if (libraries.some((one) => one.test(name))) {
      needed.add(join(triplet, name));
      for (const library of await librariesOf(join(triplet, name))) needed.add(library);
    }
  await cp(join(triplet, 'xtables'), root(triplet, 'xtables'), { recursive: true, dereference: true });
  for (const library of needed) {
    const place = root(library.startsWith('/usr/') ? library : `usr${library}`);
    await mkdir(dirname(place), { recursive: true });
    await copyFile(library, place);
  }
  await copyModules(kernel, root('usr/lib/modules', kernel.version));
  await run('depmod', ['-b', folder, kernel.version], bounds);
  const built = root('opt/assay');
  const build = join(import.meta.dirname, '../../swtpm-fixtures/set-up/build.ts');
  await run(process.execPath, [build, '--out', built], bounds);
  const all = { ...files, 'etc/passwd': passwd, 'etc/group': group, 'sbin/node-init': init };
  for (const [path, content] of Object.entries(all)) {
    await mkdir(dirname(root(path)), { recursive: true });
    await writeFile(root(path), content);
  }
  await chmod(root('sbin/node-init'), 0o755);
  const image = `${folder}.img`;
  await run('mke2fs', ['-q', '-t', 'ext4', '-E', 'root_owner=0:0', '-d', folder, image, '700M'], bounds);
  return image;
}

const isName = (text: string) => /^[a-z0-9_.[-]+$/.test(text) && text !== 'busybox';

async function replaceLink(path: string, target: string): Promise<void> {
  await unlink(path).catch(() => undefined);
  await symlink(target, path);
}

async function programPath(name: string): Promise<string> {
  for (const folder of ['/usr/sbin', '/usr/bin', '/sbin', '/bin']) {
    const path = join(folder, name);
    if ((await lstat(path).catch(() => null)) !== null) return path;
  }
  throw new Error(`${name} is not installed`);
}

async function librariesOf(path: string): Promise<readonly string[]> {
  const { stdout } = await run('ldd', [path], { timeoutMs: 30_000, maxOutputBytes: 65_536 });
  return stdout.toString().match(/\/[^ )]+/g) ?? [];
}

async function copyModules({ modules: from }: DebianKernel, to: string): Promise<void> {
  for (const entry of await readdir(from, { recursive: true })) {
    const path = join(from, entry);
    const isWanted = modules.test(path) || /^modules\.(?:order|builtin|builtin\.modinfo)$/.test(entry);
    if (!isWanted) continue;
    await mkdir(dirname(join(to, entry)), { recursive: true });
    await copyFile(path, join(to, entry));
  }
}
