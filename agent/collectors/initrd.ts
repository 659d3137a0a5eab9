import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { limits } from '../../attest-server/wire/limits.ts';
import { readBootCopies } from '../inspect/boot-copies.ts';
import { type FoundSupplement, type SupplementCollector, Unavailable } from './collector.ts';
import { hashes, identityOf, isInitrd, loaderTree, openRegular } from './loader-tree.ts';

/** An initrd by its digest, the byte to begin at, and how many may come. */
interface RequestedImage {
  readonly digest: string;
  readonly from: number;
  readonly most: number;
}

/** A file whose digest was computed, as long as it stays what it was. */
interface HashedFile {
  readonly identity: string;
  readonly digest: string;
}

/**
 * The initrd that the node booted, of which the server knows the digest from the boot log: no other file leaves the node.
 * One that root alone may read comes from the copy of `assay-agent inspect boot --initrd`.
 */
export function initrd(): SupplementCollector {
  /** By path and kind of digest. */
  const hashed = new Map<string, HashedFile>();
  return {
    name: 'initrd',
    part: null,
    supplement: 'initrds',
    // Some machines have five of them, of a hundred megabytes each.
    within: 20_000,
    async read(sysroot, signal, { of: [digest = ''], from, most }) {
      const asked: RequestedImage = { digest, from, most };
      const faults: string[] = [];
      for await (const path of candidates(sysroot, digest, signal, faults)) {
        const found = await pieceOf(path, asked, hashed, signal).catch((error: unknown) => {
          signal.throwIfAborted();
          faults.push(textOf(error));
          return null;
        });
        if (found !== null) return found;
      }
      const why = faults.length === 0 ? '' : `; ${[...new Set(faults)].slice(0, 3).join('; ')}`;
      return new Unavailable(
        `no file of /boot is the initrd that was booted (of several that are loaded together the boot log has one digest)${why}`,
      );
    },
  };
}

/** The files that may be it, the likeliest first: each is read as a whole once. */
async function* candidates(
  sysroot: string,
  digest: string,
  signal: AbortSignal,
  faults: string[],
): AsyncGenerator<string> {
  const copies = await readBootCopies(sysroot, signal);
  const indexed = typeof copies === 'string' ? [] : copies.initrds;
  const isIt = indexed.find(({ digests }) => digests.includes(digest));
  if (isIt !== undefined) {
    if (isIt.copy !== null) yield isIt.copy;
    yield join(sysroot, isIt.path);
    if (isIt.copy === null)
      faults.push(`${isIt.path} is it: where root alone may read it, start assay-inspect with --initrd`);
  }
  for await (const path of loaderTree(sysroot, isInitrd, signal, faults))
    if (relative(sysroot, path) !== isIt?.path) yield path;
  if (typeof copies === 'string') faults.push(copies);
}

/** Null if the file is another one. */
async function pieceOf(
  path: string,
  { digest, from, most }: RequestedImage,
  hashed: Map<string, HashedFile>,
  signal: AbortSignal,
): Promise<FoundSupplement | null> {
  const file = await openRegular(path);
  if (file === null) return null;
  try {
    const stats = await file.stat({ bigint: true });
    const identity = identityOf(stats);
    const key = `${digest.length} ${path}`;
    let known = hashed.get(key);
    if (known?.identity !== identity) {
      if (stats.size > limits.initrd.image) throw new Error(`${path} has ${stats.size} bytes`);
      known = { identity, digest: await digestOf(file, digest.length, signal) };
      if (hashed.size >= mostHashed) hashed.clear();
      hashed.set(key, known);
    }
    if (known.digest !== digest) return null;
    const pieces: Buffer[] = [];
    let size = 0;
    const end = Math.min(most, Math.max(0, Number(stats.size) - from));
    while (size < end) {
      signal.throwIfAborted();
      const piece = Buffer.allocUnsafeSlow(Math.min(limits.initrd.piece, end - size));
      const { bytesRead } = await file.read(piece, 0, piece.length, from + size);
      if (bytesRead === 0) break;
      pieces.push(piece.subarray(0, bytesRead));
      size += bytesRead;
    }
    if (identityOf(await file.stat({ bigint: true })) !== identity)
      throw new Error(`${path} was changed while it was read`);
    return { from, more: from + size < Number(stats.size), pieces };
  } finally {
    await file.close();
  }
}

const mostHashed = 256;

async function digestOf(file: FileHandle, length: number, signal: AbortSignal): Promise<string> {
  const sum = createHash(hashes.get(length) ?? 'sha256');
  const piece = Buffer.allocUnsafe(limits.initrd.piece);
  for (let at = 0; ; ) {
    signal.throwIfAborted();
    const { bytesRead } = await file.read(piece, 0, piece.length, at);
    if (bytesRead === 0) return sum.digest('hex');
    sum.update(piece.subarray(0, bytesRead));
    at += bytesRead;
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
