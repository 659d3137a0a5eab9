import { stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The file's time of change says when a server last ran on this state folder. */
const file = (stateDir: string) => join(stateDir, 'alive');

/** Milliseconds since the epoch; null where no server ran here yet. */
export async function readLastAlive(stateDir: string): Promise<number | null> {
  try {
    return (await stat(file(stateDir))).mtimeMs;
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

export async function beat(stateDir: string, now: number): Promise<void> {
  try {
    await utimes(file(stateDir), now / 1000, now / 1000);
  } catch (error) {
    if (!isMissing(error)) throw error;
    await writeFile(file(stateDir), '', { flag: 'wx', mode: 0o600 });
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
