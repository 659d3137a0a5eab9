import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, realpath } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { limits } from '../../attest-server/wire/limits.ts';
import { whyHidden } from './host-view.ts';

/** Where GRUB has what it reads, below the root: its folder, loader entries, and the EFI system partition. */
const places = ['boot', 'efi'] as const;
/** Files that GRUB reads besides kernels and initrds. */
const readByGrub = /(?:\.(?:cfg|conf|lst|mod|pf2)|^grub\.cfg-[^/]*|^grubenv)$/;
const environment = /^grubenv$/;
const environmentBytes = 1024;
/** A folder that somebody filled costs its own time only. */
const mostEntries = 16_384;
const deepest = 8;

/** `initrd.img-6.12`, `initramfs-6.12.img`, and systemd-boot's `initrd`. */
const initrd = /^(?:initrd|initramfs)(?:$|[.-])|\.img$/;
export const isInitrd = (name: string): boolean => initrd.test(name);

/** By the length of a digest in hex, of which hash it is. */
export const hashes: ReadonlyMap<number, string> = new Map([
  [64, 'sha256'],
  [96, 'sha384'],
  [128, 'sha512'],
]);

export const isReadByGrub = (name: string): boolean => readByGrub.test(name);

/** GRUB's environment is written after it was measured. */
export function isEnvironment(path: string, content: Buffer): boolean {
  return environment.test(path.slice(path.lastIndexOf('/') + 1)) && content.length === environmentBytes;
}

/**
 * Regular files of such names. No symbolic link is followed but the two places themselves, and none leads out.
 * @param faults gets what may not be looked at
 */
export async function* loaderTree(
  sysroot: string,
  isWanted: (name: string) => boolean,
  signal: AbortSignal,
  faults: string[],
): AsyncGenerator<string> {
  const root = await realpath(sysroot);
  let left = mostEntries;
  const seen = new Set<string>();
  const hidden = await whyHidden(root, `/${places[0]}`, signal).catch(String);
  if (hidden !== null) faults.push(hidden);
  for (const place of places) {
    const start = await realpath(join(root, place)).catch((error: unknown) => notThere(error, faults));
    if (start === null || relative(root, start).split('/')[0] === '..' || seen.has(start)) continue;
    seen.add(start);
    const open: (readonly [folder: string, depth: number])[] = [[start, 0]];
    for (let next = open.shift(); next !== undefined && left > 0; next = open.shift()) {
      signal.throwIfAborted();
      const [folder, depth] = next;
      const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) =>
        notThere(error, faults),
      );
      for (const entry of entries ?? []) {
        if (left-- <= 0) break;
        const path = join(folder, entry.name);
        if (entry.isDirectory() && depth < deepest) open.push([path, depth + 1]);
        else if (entry.isDirectory())
          faults.push(`${relative(root, path)} lies too deep: nothing in it was looked at`);
        else if (entry.isFile() && isWanted(entry.name)) yield path;
      }
    }
  }
  if (left <= 0)
    faults.push(`/boot and /efi hold more than ${mostEntries} entries: the rest was not looked at`);
}

/** Null for what is no regular file, or too large to be sent. */
export async function readLoaderFile(path: string, signal: AbortSignal): Promise<Buffer | null> {
  const { size } = await lstat(path);
  if (size > limits.loaderFiles.each) return null;
  const file = await openRegular(path);
  if (file === null) return null;
  try {
    // One byte more than it had: what grows meanwhile was not measured.
    const content = Buffer.alloc(size + 1);
    let end = 0;
    while (end < content.length) {
      signal.throwIfAborted();
      const { bytesRead } = await file.read(content, end, content.length - end);
      if (bytesRead === 0) break;
      end += bytesRead;
    }
    return end > size ? null : content.subarray(0, end);
  } finally {
    await file.close();
  }
}

/** Null for what is none; opening waits for nothing, such as the other end of a FIFO. */
export async function openRegular(path: string): Promise<FileHandle | null> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if ((await file.stat()).isFile()) return file;
  } catch (error) {
    await file.close();
    throw error;
  }
  await file.close();
  return null;
}

/** The identity of a file: another one once its bytes may have changed. */
export function identityOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(':');
}

/** Null if there is no such thing, or it may not be seen, which is said. */
function notThere(error: unknown, faults: string[]): null {
  const code = error instanceof Error && 'code' in error ? error.code : '';
  if (code !== 'ENOENT' && code !== 'ENOTDIR')
    faults.push(error instanceof Error ? error.message : String(error));
  return null;
}
