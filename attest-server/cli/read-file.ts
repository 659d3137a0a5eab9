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
  const code = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
  return new CliError(
    `${path} cannot be read${code}`,
    'See whether it exists and you may read it.',
    exit.error,
    cause,
  );
}
