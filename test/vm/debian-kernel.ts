import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';

/** systemd-boot, GRUB and the kernel of Debian's cloud images, from its archive, unpacked until it is disposed of. */
export interface DebianKernel extends AsyncDisposable {
  readonly loader: Buffer;
  /** As Debian signed it; it reads its configuration in EFI/debian. */
  readonly grub: Buffer;
  readonly image: Buffer;
  /** Its folder of modules. */
  readonly modules: string;
  readonly version: string;
}

const loaders = ['systemd-boot-efi', 'grub-efi-amd64-signed'] as const;

export async function debianKernel(): Promise<DebianKernel> {
  const dir = await mkdtemp(join(tmpdir(), 'assay-packages-'));
  const remove = () => rm(dir, { recursive: true, force: true });
  try {
    const bounds = { timeoutMs: 300_000, maxOutputBytes: 1024 * 1024 };
    const { stdout } = await run('apt-cache', ['depends', 'linux-image-cloud-amd64'], bounds);
    const name = /linux-image-\d\S+/.exec(stdout.toString())?.[0];
    if (name === undefined) throw new Error('apt-cache knows no linux-image-cloud-amd64: run apt-get update');
    // apt-get writes where it runs.
    await run('env', ['-C', dir, 'apt-get', '-qq', 'download', name, ...loaders], bounds);
    for (const file of await readdir(dir)) await run('dpkg-deb', ['-x', join(dir, file), dir], bounds);
    const version = name.replace('linux-image-', '');
    return {
      loader: await readFile(join(dir, 'usr/lib/systemd/boot/efi/systemd-bootx64.efi')),
      grub: await readFile(join(dir, 'usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed')),
      image: await readFile(join(dir, 'boot', `vmlinuz-${version}`)),
      modules: join(dir, 'usr/lib/modules', version),
      version,
      [Symbol.asyncDispose]: remove,
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** Packages of the two newest kernels of Debian's cloud images, the newest first. */
export async function twoKernels(): Promise<readonly [newest: string, before: string]> {
  const { stdout } = await run('apt-cache', ['search', '--names-only', '^linux-image-[0-9].*-cloud-amd64$'], {
    timeoutMs: 60_000,
    maxOutputBytes: 1024 * 1024,
  });
  const names = stdout.toString().match(/^\S+/gm) ?? [];
  const [newest, before] = names.sort((a, b) => b.localeCompare(a, 'en', { numeric: true }));
  if (newest === undefined || before === undefined)
    throw new Error(`apt-cache knows only these kernels: ${names.join(' ')}: run apt-get update`);
  return [newest, before];
}
