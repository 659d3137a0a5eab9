import type { Kysely, Transaction } from 'kysely';
import { StorageFault, storageCauseOf } from '../../formats/server-fault.ts';
import type { WriteWatch } from '../database.ts';
import type { Tables } from '../schema.ts';

/** Runs writes, and retries them if room could be made. */
export interface Room {
  /** @param mayUseReserve whether the write may use the room that is kept for a full disk */
  write<T>(work: () => Promise<T>, mayUseReserve: boolean): Promise<T>;
}

/**
 * @param emptyLog moves the write-ahead log into the database, so that the next write starts it over
 * @param free as of `Database`
 */
export function roomFor(watch: WriteWatch, emptyLog: () => Promise<void>, free: () => number): Room {
  return {
    async write(work, mayUseReserve) {
      // What was kept is free for all by now: whoever may not have it must not even try.
      if (!mayUseReserve && (watch.isFull() || watch.isLow(free()))) throw new StorageFault('disk_full');
      for (let attempt = 0; ; attempt += 1)
        try {
          const result = await work();
          // Else the log would grow into the little room there is.
          if (watch.isFull()) await emptyLog();
          return result;
        } catch (error) {
          const cause = storageCauseOf(error);
          if (cause === null) throw error;
          const isFull = cause === 'disk_full';
          // The log alone may have had room: a disk on which that helps is not full.
          if (!isFull || attempt > 0) watch.failed(error);
          if (!isFull || attempt === (mayUseReserve ? 2 : 1)) throw error;
          await emptyLog();
        }
    },
  };
}

/**
 * Sends every transaction of the queries through the room.
 * @returns runs a transaction that must not use the reserve
 */
export function writeInRoom(
  db: Kysely<Tables>,
  room: Room,
): <T>(work: (transaction: Transaction<Tables>) => Promise<T>) => Promise<T> {
  const begin = db.transaction.bind(db);
  db.transaction = () => {
    const builder = begin();
    const execute = builder.execute.bind(builder);
    builder.execute = <T>(work: (transaction: Transaction<Tables>) => Promise<T>) =>
      room.write(() => execute(work), true);
    return builder;
  };
  return (work) => room.write(() => begin().execute(work), false);
}
