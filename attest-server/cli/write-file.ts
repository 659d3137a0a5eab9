import { chmodSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { CliError, exit } from './exit.ts';
import type { CliIo } from './io.ts';

/** Writes a file that only its owner reads. @throws CliError */
export function writeFile(path: string, content: string | Uint8Array): void {
  try {
    writeFileSync(path, content, { mode: 0o600 });
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

/** Puts another text in place of a file's, with its mode: whoever reads it meanwhile reads one of the two. @throws CliError */
export function replaceFile(path: string, change: (text: string) => string): void {
  const beside = `${path}.${process.pid}.new`;
  try {
    const { mode } = statSync(path);
    writeFileSync(beside, change(readFileSync(path, 'utf8')), { mode: mode & 0o777, flag: 'wx' });
    // The mask of the process may have taken something of it.
    chmodSync(beside, mode & 0o777);
    renameSync(beside, path);
  } catch (cause) {
    rmSync(beside, { force: true });
    throw unwritable(path, cause);
  }
}

/** The error on a file that cannot be written. */
export function unwritable(path: string, cause: unknown): CliError {
  const code = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
  const hint =
    code === ' (ENOSPC)' ? 'That disk is full: make room, or name another file.' : 'Name another file.';
  return new CliError(`${path} cannot be written${code}`, hint, exit.error, cause);
}

/** The same surroundings, whose standard output is that file, where one was named. */
export function into(file: string | undefined, io: CliIo): CliIo {
  return file === undefined ? io : { ...io, out: (text) => writeFile(resolve(io.cwd, file), text) };
}
