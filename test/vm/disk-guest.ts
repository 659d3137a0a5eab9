import { globSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { run } from 'node-tpm2/run';
import { type DebianKernel, debianKernel } from './debian-kernel.ts';
import { type Files, guestArchive } from './guest-image.ts';

const bounds = { timeoutMs: 300_000, maxOutputBytes: 64 * 1024 * 1024 };
const repository = join(import.meta.dirname, '../..');
/** Of this machine; the guest has them with their libraries. */
const programs = ['cryptsetup', 'dmsetup', 'dd', 'mkfs.ext4'];
/** In the order in which one needs the other; a kernel that has one built in has no such file. */
const modules = [
  ...['dm-mod', 'crypto_null', 'cryptd', 'crypto_simd', 'xts', 'af_alg', 'algif_skcipher', 'algif_hash'],
  ...['dm-crypt', 'loop', 'mbcache', 'jbd2', 'crc16', 'crc32c_generic', 'ext4'],
];

const init = `#!/bin/busybox sh
/bin/busybox mkdir -p /tmp /run /etc /mnt /var/lib
/bin/busybox --install -s /bin
export PATH=/usr/bin:/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs run /run
exec >/dev/ttyS0 2>&1 </dev/null
for m in ${modules.join(' ')}; do [ -f /modules/$m.ko ] && insmod /modules/$m.ko; done
. /script
echo "== END"
poweroff -f
`;

/**
 * Boots Debian's cloud kernel, which has dm-crypt, with the programs of this repository as `npm run build` makes them in
 * `/app`, and runs a script there. A minute without the processor's help.
 * @returns what it printed, by the lines `== NAME` in it
 */
export async function inDiskGuest(script: string): Promise<ReadonlyMap<string, string>> {
  const dir = await mkdtemp(join(tmpdir(), 'assay-disk-guest-'));
  try {
    await using kernel = await debianKernel();
    await writeFile(join(dir, 'vmlinuz'), kernel.image);
    const app = join(dir, 'app');
    await run(process.execPath, [join(repository, 'swtpm-fixtures/set-up/build.ts'), '--out', app], bounds);
    const initrd = guestArchive({
      init,
      script,
      'bin/busybox': await readFile('/usr/bin/busybox'),
      ...(await withLibraries([...programs, process.execPath])),
      ...(await unpackedModules(kernel)),
      ...(await filesIn(app, 'app')),
    });
    await writeFile(join(dir, 'initrd'), initrd);
    const { stdout } = await run(
      'qemu-system-x86_64',
      [
        ...['-accel', 'tcg,thread=multi', '-cpu', 'Nehalem', '-smp', '2', '-m', '2048'],
        ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
        ...['-kernel', join(dir, 'vmlinuz'), '-initrd', join(dir, 'initrd')],
        ...['-append', 'console=ttyS0 quiet panic=-1 no_timer_check'],
      ],
      bounds,
    );
    const sections = stdout.toString().replaceAll('\r', '').split(/^== /m).slice(1);
    return new Map(
      sections.map((text) => [text.split('\n', 1)[0] ?? '', text.slice(text.indexOf('\n') + 1)]),
    );
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function unpackedModules({ modules: folder }: DebianKernel): Promise<Files> {
  const found = globSync(`kernel/**/{${modules.join()}}.ko.xz`, { cwd: folder });
  const files = found.map(async (path) => {
    const { stdout: module } = await run('xz', ['-dc', join(folder, path)], bounds);
    return [`modules/${path.slice(path.lastIndexOf('/') + 1, -'.xz'.length)}`, module] as const;
  });
  return Object.fromEntries(await Promise.all(files));
}

/** Programs as `/usr/bin/NAME`, and each library where it is here. */
async function withLibraries(names: readonly string[]): Promise<Files> {
  const files = new Map<string, Buffer>();
  for (const name of names) {
    const { stdout } = await run('which', [name], bounds);
    const path = stdout.toString().trim();
    files.set(`usr/bin/${name.slice(name.lastIndexOf('/') + 1)}`, await readFile(path));
    const libraries = (await run('ldd', [path], bounds)).stdout.toString().match(/\/\S+/g) ?? [];
    for (const library of libraries) files.set(library.slice(1), await readFile(library));
  }
  return Object.fromEntries(files);
}

async function filesIn(folder: string, as: string): Promise<Files> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  return Object.fromEntries(
    await Promise.all(
      files.map(async (path) => [join(as, relative(folder, path)), await readFile(path)] as const),
    ),
  );
}
