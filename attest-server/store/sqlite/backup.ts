import { closeSync, fsyncSync, lstatSync, openSync, renameSync, rmSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';
import { preparePrivateFile } from '../../state/private-file.ts';

/** More pages than a database can have: all in one step, as a write between two steps would restart the copy. */
const allPages = 2 ** 31 - 1;

/**
 * Copies a consistent snapshot of a database that is in use.
 * @throws Error if the target exists or the source lives in memory
 */
export async function backUp(path: string, to: string): Promise<void> {
  if (path === ':memory:') throw new Error('a store in memory has no backup');
  const target = resolve(to);
  if (lstatSync(target, { throwIfNoEntry: false }) !== undefined)
    throw new Error(`${target} exists: name another file`);
  // Killed in the middle, it leaves nothing that looks like a copy.
  const part = `${target}.part`;
  rmSync(part, { force: true });
  preparePrivateFile(part);
  // A connection of its own: it sees only what is committed.
  const source = new DatabaseSync(resolve(path), { readOnly: true, timeout: 5000 });
  try {
    await backup(source, part, { rate: allPages });
    syncPath(part);
    renameSync(part, target);
    syncPath(dirname(target));
  } catch (error) {
    rmSync(part, { force: true });
    throw error;
  } finally {
    source.close();
  }
}

function syncPath(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
