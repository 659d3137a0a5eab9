import { createHash, hash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { relative } from 'node:path';
import {
  isEnvironment,
  isReadByGrub,
  loaderTree,
  openRegular,
  readLoaderFile,
} from '../collectors/loader-tree.ts';
import {
  type BootIndex,
  bootIndexBytes,
  bootIndexFile,
  fits,
  type IndexedFile,
  mostIndexed,
  parseBootIndex,
} from './boot-index.ts';
import type { OutFolder } from './out-folder.ts';

/** `initrd.img-6.12`, `initramfs-6.12.img`, and systemd-boot's `initrd`. */
const initrd = /^(?:initrd|initramfs)(?:$|[.-])|\.img$/;
/** Of initrds that are read for their digests; others are named. */
const most = { each: 1024 ** 3, bytes: 4 * 1024 ** 3, count: 64, unread: 64 };

/**
 * Writes what GRUB may have read and the digests of initrds. The copies come first and the index last, so that whoever
 * reads the index finds what it names; what it no longer names goes one run later.
 * @param out the folder `boot`
 */
export async function inspectBoot(sysroot: string, now: Date, out: OutFolder): Promise<BootIndex> {
  const root = await realpath(sysroot);
  const { signal } = new AbortController();
  const unread: string[] = [];
  const paths = { loader: [] as string[], initrd: [] as string[] };
  for await (const path of loaderTree(
    root,
    (name) => isReadByGrub(name) || initrd.test(name),
    signal,
    unread,
  ))
    paths[isReadByGrub(path.slice(path.lastIndexOf('/') + 1)) ? 'loader' : 'initrd'].push(path);
  const before = await readIndex(out);
  const files: IndexedFile[] = [];
  const note = (path: string) => (error: unknown) => {
    unread.push(`${relative(root, path)}: ${error instanceof Error ? error.message : String(error)}`);
    return null;
  };
  const copied = { bytes: 0, count: 0 };
  for (const path of paths.loader.sort(configurationFirst)) {
    if (files.length >= mostIndexed) break;
    const content = await readLoaderFile(path, signal).catch(note(path));
    if (content === null) continue;
    const digests = digestsOf(content);
    const isCopied = fits(copied, content.length);
    if (isCopied) {
      copied.bytes += content.length;
      copied.count += 1;
      const there = await out.read(digests.sha256, content.length + 1).catch(() => null);
      if (there === null || !there.equals(content)) await out.write(digests.sha256, content);
    }
    const kind = isEnvironment(path, content) ? 'environment' : 'loader';
    const one = { path: relative(root, path), kind, bytes: content.length, ...digests } as const;
    files.push({ ...one, copied: isCopied, identity: null });
  }
  const uncopied = files.filter((file) => !file.copied).length;
  if (uncopied > 0) unread.push(`of ${uncopied} of GRUB's files there is no copy: they are too many`);
  files.push(...(await readInitrds(root, paths.initrd.sort(), before, note)));
  const index: BootIndex = {
    version: 1,
    at: now.toISOString(),
    files: files.slice(0, mostIndexed),
    unread: unread.slice(0, most.unread).map((text) => text.replace(/[^\x20-\x7e]/g, '?').slice(0, 256)),
  };
  await out.write(bootIndexFile, Buffer.from(JSON.stringify(index)));
  const kept = new Set([bootIndexFile, ...namesIn(index), ...namesIn(before)]);
  for (const name of await out.list()) if (!kept.has(name) && !name.startsWith('.')) await out.remove(name);
  return index;
}

/** Modules and fonts are many, and seldom what nobody knows. */
function configurationFirst(a: string, b: string): number {
  const rank = (path: string) => (/\.(?:mod|lst|pf2)$/.test(path) ? 1 : 0);
  return rank(a) - rank(b) || (a < b ? -1 : a > b ? 1 : 0);
}

function namesIn(index: BootIndex | null): readonly string[] {
  return index?.files.filter(({ copied }) => copied).map(({ sha256 }) => sha256) ?? [];
}

/** One that cannot be read is as none: it is written anew. */
async function readIndex(out: OutFolder): Promise<BootIndex | null> {
  try {
    const bytes = await out.read(bootIndexFile, bootIndexBytes);
    return bytes === null ? null : parseBootIndex(bytes);
  } catch {
    return null;
  }
}

async function readInitrds(
  root: string,
  paths: readonly string[],
  before: BootIndex | null,
  note: (path: string) => (error: unknown) => null,
): Promise<readonly IndexedFile[]> {
  const known = new Map(
    before?.files.flatMap((file) => (file.identity === null ? [] : [[file.identity, file] as const])),
  );
  const found: IndexedFile[] = [];
  let bytes = 0;
  for (const path of paths) {
    if (found.length >= most.count) {
      note(path)(new Error('left out: there are more initrds than are read'));
      break;
    }
    const one = await readInitrd(root, path, known, most.bytes - bytes).catch(note(path));
    if (one === null) continue;
    if (!known.has(one.identity ?? '')) bytes += one.bytes;
    found.push(one);
  }
  return found;
}

/** Read a piece at a time: some have hundreds of megabytes. */
async function readInitrd(
  root: string,
  path: string,
  known: ReadonlyMap<string, IndexedFile>,
  left: number,
): Promise<IndexedFile | null> {
  const file = await openRegular(path);
  if (file === null) return null;
  try {
    const stats = await file.stat({ bigint: true });
    const identity = identityOf(stats);
    const same = known.get(identity);
    if (same !== undefined) return { ...same, path: relative(root, path) };
    if (stats.size > Math.min(most.each, left)) throw new Error(`left out: it has ${stats.size} bytes`);
    const hashes = [createHash('sha256'), createHash('sha384'), createHash('sha512')] as const;
    const piece = Buffer.allocUnsafe(1024 * 1024);
    let bytes = 0;
    for (;;) {
      const { bytesRead } = await file.read(piece, 0, piece.length);
      if (bytesRead === 0) break;
      bytes += bytesRead;
      if (bytes > stats.size) break;
      for (const one of hashes) one.update(piece.subarray(0, bytesRead));
    }
    if (identityOf(await file.stat({ bigint: true })) !== identity)
      throw new Error('it was changed while it was read');
    const [sha256, sha384, sha512] = hashes;
    const digests = {
      sha256: sha256.digest('hex'),
      sha384: sha384.digest('hex'),
      sha512: sha512.digest('hex'),
    };
    return { path: relative(root, path), kind: 'initrd', bytes, ...digests, copied: false, identity };
  } finally {
    await file.close();
  }
}

function identityOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(':');
}

function digestsOf(content: Buffer): Pick<IndexedFile, 'sha256' | 'sha384' | 'sha512'> {
  return {
    sha256: hash('sha256', content, 'hex'),
    sha384: hash('sha384', content, 'hex'),
    sha512: hash('sha512', content, 'hex'),
  };
}
