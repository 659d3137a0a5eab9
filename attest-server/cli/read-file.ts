import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { CliIo } from './context.ts';
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

/** A file by its name as it was given, or standard input for `-`. @throws CliError as `readFile` */
export async function readInput({ cwd, stdin }: CliIo, given: string): Promise<Buffer> {
  if (given !== '-') return readFile(resolve(cwd, given));
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stdin) {
    size += chunk.length;
    if (size > maxBytes) throw new CliError('standard input is larger than 64 MiB', 'Is it the right file?');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** What is said of a file that cannot be read, with the system's code where it gave one. */
export function unreadable(path: string, cause: unknown): CliError {
  const code = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
  return new CliError(
    `${path} cannot be read${code}`,
    'Check that it exists and that you may read it.',
    exit.error,
    cause,
  );
}
