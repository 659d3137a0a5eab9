import { hash } from 'node:crypto';
import { constants } from 'node:fs';
import { lstat, open, readdir, realpath } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { limits } from '../../attest-server/protocol/limits.ts';
import type { FileCollector } from './collector.ts';

/** Where GRUB has what it reads, below the root: its folder, loader entries, and the EFI system partition. */
const places = ['boot', 'efi'];
/** What GRUB reads besides kernels and initrds. */
const readByGrub = /(?:\.(?:cfg|conf|lst|mod|pf2)|^grub\.cfg-[^/]*|^grubenv)$/;
const environment = /^grubenv$/;
const environmentBytes = 1024;
/** A folder that somebody filled costs its own time only. */
const mostEntries = 16_384;
const deepest = 8;

/**
 * The files that GRUB measured, as far as a server asks for them: whoever asks for a digest knows it from a boot log, so
 * that nothing else leaves the node. GRUB's environment is written after it was measured, and is sent as it is.
 */
export const loaderFiles: FileCollector = {
  name: 'loaderFiles',
  part: null,
  byDigest: true,
  within: 10_000,
  async read(sysroot, signal, digests) {
    const wanted = new Set(digests);
    const files: Buffer[] = [];
    const blocks: Buffer[] = [];
    const faults: string[] = [];
    let bytes = 0;
    const { count, bytes: most, blocks: mostBlocks } = limits.filesInAnswer;
    for await (const path of filesBelow(sysroot, signal, faults)) {
      if (wanted.size === 0 || files.length >= count) break;
      const content = await readFile(path, signal).catch((error: unknown) => {
        signal.throwIfAborted();
        faults.push(textOf(error));
        return null;
      });
      if (content === null) continue;
      const found = digestsIn(content, wanted);
      if (found.length > 0 && bytes + content.length <= most) {
        bytes += content.length;
        files.push(content);
        for (const digest of found) wanted.delete(digest);
      } else if (isEnvironment(path, content) && blocks.length < mostBlocks) blocks.push(content);
    }
    if (wanted.size > 0) files.push(...blocks);
    return { files, unread: wanted.size > 0 ? (faults[0] ?? null) : null };
  },
};

/** Regular files that GRUB may have read. No symbolic link is followed but the two places themselves, and none leads out. */
async function* filesBelow(sysroot: string, signal: AbortSignal, faults: string[]): AsyncGenerator<string> {
  const root = await realpath(sysroot);
  let left = mostEntries;
  const seen = new Set<string>();
  for (const place of places) {
    const start = await realpath(join(root, place)).catch((error: unknown) => notThere(error, faults));
    if (start === null || relative(root, start).startsWith('..') || seen.has(start)) continue;
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
        else if (entry.isFile() && readByGrub.test(entry.name)) yield path;
      }
    }
  }
}

/** Null where there is no such thing, or it may not be seen, which is said. */
function notThere(error: unknown, faults: string[]): null {
  const code = error instanceof Error && 'code' in error ? error.code : '';
  if (code !== 'ENOENT' && code !== 'ENOTDIR') faults.push(textOf(error));
  return null;
}

/** Null for what is no regular file, or too large; opening waits for nothing, such as the other end of a FIFO. */
async function readFile(path: string, signal: AbortSignal): Promise<Buffer | null> {
  const { size } = await lstat(path);
  if (size > limits.loaderFiles.each) return null;
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if (!(await file.stat()).isFile()) return null;
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

/** By their length, the digests are of SHA-256, SHA-384 or SHA-512. */
const hashes = [
  [64, 'sha256'],
  [96, 'sha384'],
  [128, 'sha512'],
] as const;

function digestsIn(content: Buffer, wanted: ReadonlySet<string>): readonly string[] {
  return hashes
    .filter(([length]) => [...wanted].some((digest) => digest.length === length))
    .map(([, name]) => hash(name, content, 'hex'))
    .filter((digest) => wanted.has(digest));
}

function isEnvironment(path: string, content: Buffer): boolean {
  return environment.test(path.slice(path.lastIndexOf('/') + 1)) && content.length === environmentBytes;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
