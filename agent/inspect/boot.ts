import { createHash, hash } from 'node:crypto';
import { lstat, realpath } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { limits } from '../../attest-server/wire/limits.ts';
import { bootLogPath } from '../collectors/boot-log.ts';
import {
  identityOf,
  isEnvironment,
  isInitrd,
  isReadByGrub,
  loaderTree,
  openRegular,
  readLoaderFile,
} from '../collectors/loader-tree.ts';
import { readBounded } from '../collectors/read-bounded.ts';
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

/** Bounds on initrds that are read for their digests; others are named. */
const most = { each: 1024 ** 3, bytes: 4 * 1024 ** 3, count: 64, unread: 64 };
/** Bound on copies of initrds, which take memory: /run is a file system in it. */
const copiedBytes = 256 * 1024 * 1024;

/**
 * Writes what GRUB may have read and the digests of initrds. The copies come first and the index last, so that whoever
 * reads the index finds what it names; what it no longer names goes one run later.
 * @param out the folder `boot`
 * @param copiesInitrds also copies the initrd that was booted, where not everybody may read it
 */
export async function inspectBoot(
  sysroot: string,
  now: Date,
  out: OutFolder,
  copiesInitrds = false,
): Promise<BootIndex> {
  const root = await realpath(sysroot);
  const { signal } = new AbortController();
  const unread: string[] = [];
  const paths = { loader: [] as string[], initrd: [] as string[] };
  for await (const path of loaderTree(root, (name) => isReadByGrub(name) || isInitrd(name), signal, unread))
    paths[isReadByGrub(path.slice(path.lastIndexOf('/') + 1)) ? 'loader' : 'initrd'].push(path);
  const before = await readIndex(out);
  const files: IndexedFile[] = [];
  const note = (path: string) => (error: unknown) => {
    unread.push(`${relative(root, path)}: ${error instanceof Error ? error.message : String(error)}`);
    return null;
  };
  const copied = { bytes: 0, count: 0 };
  for (const path of paths.loader.sort(configurationFirst)) {
    if (files.length >= mostIndexed) {
      unread.push(`of ${paths.loader.length} files of GRUB ${mostIndexed} were looked at, and no initrd`);
      break;
    }
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
  if (uncopied > 0) unread.push(`${uncopied} of GRUB's files are not copied: there are too many`);
  const initrds = await readInitrds(root, paths.initrd.sort(), before, note);
  files.push(...(copiesInitrds ? await copyBooted(root, initrds, out, note) : initrds));
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

/** One that cannot be read is as none: it is rewritten. */
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
    if (same !== undefined) return { ...same, path: relative(root, path), copied: false };
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

/** With copies of those that the firmware's log names and that the agent cannot read where they lie. */
async function copyBooted(
  root: string,
  initrds: readonly IndexedFile[],
  out: OutFolder,
  note: (path: string) => (error: unknown) => null,
): Promise<readonly IndexedFile[]> {
  const log = await readBounded(join(root, bootLogPath), limits.parts.boot).catch(
    note(join(root, bootLogPath)),
  );
  if (log === null) return initrds;
  const there = new Set(await out.list());
  const files: IndexedFile[] = [];
  let bytes = 0;
  for (const file of initrds) {
    const path = join(root, file.path);
    // The log is not parsed here: whoever made up one that has these bytes has its own initrd copied.
    const isBooted = [file.sha256, file.sha384, file.sha512].some((hex) =>
      log.includes(Buffer.from(hex, 'hex')),
    );
    if (!isBooted || (await isOpenToAll(root, path).catch(() => false))) {
      files.push(file);
      continue;
    }
    bytes += file.bytes;
    const copied = await copyOf(path, file, bytes, there, out).catch(note(path));
    files.push({ ...file, copied: copied !== null });
  }
  return files;
}

/** The file and each folder that leads to it. */
async function isOpenToAll(root: string, path: string): Promise<boolean> {
  if (((await lstat(path)).mode & 0o004) === 0) return false;
  for (let at = dirname(path); at.length > root.length; at = dirname(at))
    if (((await lstat(at)).mode & 0o001) === 0) return false;
  return true;
}

/**
 * The name of its copy.
 * @param bytes of all copies with this one @param there names of those that were made before
 */
async function copyOf(
  path: string,
  { identity, sha256 }: IndexedFile,
  bytes: number,
  there: ReadonlySet<string>,
  out: OutFolder,
): Promise<string> {
  if (bytes > copiedBytes) throw new Error('no copy of it: it is too large');
  if (there.has(sha256)) return sha256;
  const file = await openRegular(path);
  if (file === null) throw new Error('it is no longer a regular file');
  try {
    if (identityOf(await file.stat({ bigint: true })) !== identity)
      throw new Error('it was changed while it was read');
    await out.write(sha256, file.createReadStream({ highWaterMark: 1024 * 1024, autoClose: false }));
  } finally {
    await file.close();
  }
  return sha256;
}

function digestsOf(content: Buffer): Pick<IndexedFile, 'sha256' | 'sha384' | 'sha512'> {
  return {
    sha256: hash('sha256', content, 'hex'),
    sha384: hash('sha384', content, 'hex'),
    sha512: hash('sha512', content, 'hex'),
  };
}
