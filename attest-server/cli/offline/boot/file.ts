import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { CliError, exit } from '../../exit.ts';
import { unreadable } from '../../read-file.ts';

/** Kernels, unified images and initrds have some 100 MB; what is far larger is another file. */
const maxBytes = 1024 * 1024 * 1024;
const chunkBytes = 1024 * 1024;

/** The whole file, up to 1 GiB. @throws CliError that names it */
export function readBootFile(path: string): Buffer {
  return opened(path, (file, size) => {
    const bytes = Buffer.alloc(size);
    let at = 0;
    while (at < size) {
      const count = readSync(file, bytes, at, size - at, at);
      if (count === 0) break;
      at += count;
    }
    return bytes.subarray(0, at);
  });
}

/** Passes each chunk of a file on, in order; not all of it is in memory at once. */
export function readChunks(path: string, take: (chunk: Buffer) => void): number {
  return opened(path, (file) => {
    const chunk = Buffer.alloc(chunkBytes);
    let at = 0;
    for (;;) {
      const count = readSync(file, chunk, 0, chunkBytes, at);
      if (count === 0) return at;
      at += count;
      if (at > maxBytes) throw tooLarge(path);
      take(chunk.subarray(0, count));
    }
  });
}

/** Which banks a computed reference speaks of: those that are compared. */
export const computedBanks = ['sha256', 'sha384', 'sha512'] as const;
export type ComputedDigests = Readonly<Record<(typeof computedBanks)[number], string>>;

/** Hashes what it is given, in every bank at once. */
export function createDigester(): {
  readonly update: (bytes: Buffer) => void;
  readonly digests: () => ComputedDigests;
} {
  const sha256 = createHash('sha256');
  const sha384 = createHash('sha384');
  const sha512 = createHash('sha512');
  return {
    update(bytes) {
      for (const one of [sha256, sha384, sha512]) one.update(bytes);
    },
    digests: () => ({
      sha256: sha256.digest('hex'),
      sha384: sha384.digest('hex'),
      sha512: sha512.digest('hex'),
    }),
  };
}

export function digestsOf(...parts: readonly Buffer[]): ComputedDigests {
  const { update, digests } = createDigester();
  for (const part of parts) update(part);
  return digests();
}

function opened<T>(path: string, use: (file: number, size: number) => T): T {
  let file: number;
  try {
    // A named pipe would otherwise wait for a writer.
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw unreadable(path, cause);
  }
  try {
    const stat = fstatSync(file);
    if (!stat.isFile())
      throw new CliError(`${path} is no file`, 'Name the file that the machine boots.', exit.error);
    if (stat.size > maxBytes) throw tooLarge(path);
    if (stat.size === 0) throw new CliError(`${path} is empty`, 'Is it the right file?', exit.error);
    return use(file, stat.size);
  } catch (cause) {
    if (cause instanceof CliError || !(cause instanceof Error && 'code' in cause)) throw cause;
    throw unreadable(path, cause);
  } finally {
    closeSync(file);
  }
}

function tooLarge(path: string): CliError {
  return new CliError(`${path} is larger than 1 GiB`, 'Is it the right file?', exit.error);
}
