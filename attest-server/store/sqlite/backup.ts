import { closeSync, fsyncSync, lstatSync, openSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';
import { preparePrivateFile } from '../../state/private-file.ts';

/** More pages than a database can have: one step, so that no write between two of them starts the copy anew. */
const allPages = 2 ** 31 - 1;

/**
 * Copies a database that is in use: one moment of it, whatever is written meanwhile.
 * @throws Error where the target exists or the source lives in memory
 */
export async function backUp(path: string, to: string): Promise<void> {
  if (path === ':memory:') throw new Error('a store in memory has no backup');
  const target = resolve(to);
  if (lstatSync(target, { throwIfNoEntry: false }) !== undefined)
    throw new Error(`${target} exists: name another file`);
  preparePrivateFile(target);
  // A connection of its own: it sees only what is committed.
  const source = new DatabaseSync(resolve(path), { readOnly: true, timeout: 5000 });
  try {
    await backup(source, target, { rate: allPages });
    const file = openSync(target, 'r');
    fsyncSync(file);
    closeSync(file);
  } catch (error) {
    rmSync(target, { force: true });
    throw error;
  } finally {
    source.close();
  }
}
