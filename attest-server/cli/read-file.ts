import { closeSync, openSync, readSync } from 'node:fs';
import { resolve } from 'node:path';
import { CliError, exit } from './exit.ts';
import type { CliIo } from './io.ts';

const maxBytes = 256 * 1024 * 1024;
const most = `${maxBytes / 1024 / 1024} MiB`;
const chunkBytes = 256 * 1024;

/** @throws CliError if it cannot be read, or is larger than 256 MiB */
export function readFile(path: string): Buffer {
  try {
    return readAll(path);
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw unreadable(path, cause);
  }
}

/** By what comes: a device and a pipe have no size. */
function readAll(path: string): Buffer {
  const chunks: Buffer[] = [];
  const file = openSync(path, 'r');
  try {
    for (let size = 0; size <= maxBytes; ) {
      const chunk = Buffer.allocUnsafe(chunkBytes);
      const count = readSync(file, chunk);
      if (count === 0) return Buffer.concat(chunks);
      chunks.push(chunk.subarray(0, count));
      size += count;
    }
  } finally {
    closeSync(file);
  }
  throw new CliError(`${path} is larger than ${most}`, 'Is it the right file?');
}

/** A file by its name as it was given, or standard input for `-`. @throws CliError as `readFile` */
export async function readInput({ cwd, stdin }: CliIo, given: string): Promise<Buffer> {
  if (given !== '-') return readFile(resolve(cwd, given));
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stdin) {
    size += chunk.length;
    if (size > maxBytes) throw new CliError(`standard input is larger than ${most}`, 'Is it the right file?');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The error on a file that cannot be read, with the system's code if it gave one. */
export function unreadable(path: string, cause: unknown): CliError {
  return new CliError(`${path} ${unreadableFor(cause)}`, 'Is that its name?', exit.error, cause);
}

/** Why a file cannot be read, behind its name. */
export function unreadableFor(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  return reasons[code] ?? `cannot be read${code === '' ? '' : ` (${code})`}`;
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist (ENOENT)',
  EISDIR: 'is a folder and no file (EISDIR)',
  EACCES: 'may not be read by this user (EACCES)',
  ENOTDIR: 'does not exist: a part of that path is no folder (ENOTDIR)',
};
