import {
  chmodSync,
  existsSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { resolve } from 'node:path';
import { CliError, exit } from './exit.ts';
import type { CliIo } from './io.ts';

/** Writes a file. A new one only its owner reads; one that exists keeps its mode. @throws CliError */
function writeFile(path: string, content: string | Uint8Array): void {
  try {
    writeFileSync(path, content, { mode: 0o600 });
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

/** Writes a file that only its owner reads, whoever read the one before it; what is no file, such as a pipe, is written to. @throws CliError */
export function writeSecret(path: string, content: string | Uint8Array): void {
  try {
    const target = existsSync(path) ? realpathSync(path) : path;
    if (statSync(target, { throwIfNoEntry: false })?.isFile() === false) writeFileSync(target, content);
    else exchange(target, content, 0o600);
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

/** Puts another text in place of a file's, with its mode: whoever reads it meanwhile reads one of the two. @throws CliError */
export function replaceFile(path: string, change: (text: string) => string): void {
  try {
    exchange(path, change(readFileSync(path, 'utf8')), statSync(path).mode & 0o777);
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

function exchange(path: string, content: string | Uint8Array, mode: number): void {
  const beside = `${path}.${process.pid}.new`;
  try {
    writeFileSync(beside, content, { mode, flag: 'wx' });
    // The mask of the process may have taken something of it.
    chmodSync(beside, mode);
    renameSync(beside, path);
  } catch (cause) {
    rmSync(beside, { force: true });
    throw cause;
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
export function into(file: string | undefined, io: CliIo, write = writeFile): CliIo {
  return file === undefined ? io : { ...io, out: (text) => write(resolve(io.cwd, file), text) };
}
