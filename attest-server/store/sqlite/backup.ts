import { once } from 'node:events';
import { closeSync, fsyncSync, lstatSync, openSync, renameSync, rmSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { StorageFault } from '../../formats/server-fault.ts';
import { preparePrivateFile } from '../../state/private-file.ts';

/** More pages than a database can have: all in one step, as a write between two steps would restart the copy. */
const allPages = 2 ** 31 - 1;

/** Runs beside the event loop, which would stand still: SQLite reads all of the copy in one step. */
const checker = `
const { parentPort, workerData } = require('node:worker_threads');
const { DatabaseSync } = require('node:sqlite');
const copy = new DatabaseSync(workerData, { readOnly: true });
parentPort.postMessage(copy.prepare('pragma integrity_check(1)').get().integrity_check);
`;

/** Attack: pages that are damaged are copied as they are, and in time no good copy is left. @throws StorageFault */
async function checkCopy(path: string): Promise<void> {
  const file = pathToFileURL(path);
  // Else SQLite would make files beside it.
  file.searchParams.set('immutable', '1');
  const worker = new Worker(checker, { eval: true, workerData: file.href });
  try {
    const [said]: unknown[] = await once(worker, 'message');
    if (said !== 'ok') throw new Error(String(said));
  } catch (cause) {
    throw new StorageFault('damaged', cause);
  } finally {
    await worker.terminate();
  }
}

/**
 * Copies a consistent snapshot of a database that is in use.
 * @throws Error if the target exists or the source lives in memory; StorageFault if the copy is damaged, as the source is
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
    await checkCopy(part);
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
