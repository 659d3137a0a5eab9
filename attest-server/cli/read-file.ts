import { readFileSync, statSync } from 'node:fs';
import { CliError, exit } from './exit.ts';

const maxBytes = 64 * 1024 * 1024;

/** @throws CliError where it cannot be read, or is larger than 64 MiB */
export function readFile(path: string): Buffer {
  try {
    const { size } = statSync(path);
    if (size > maxBytes) throw new CliError(`${path} is larger than 64 MiB`, 'Is it the right file?');
    return readFileSync(path);
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw unreadable(path, cause);
  }
}

/** What is said of a file that cannot be read, with the system's code where it gave one. */
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
