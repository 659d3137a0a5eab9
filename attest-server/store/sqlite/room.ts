import type { Kysely, Transaction } from 'kysely';
import { StorageFault, storageCauseOf } from '../../formats/server-fault.ts';
import type { WriteWatch } from '../database.ts';
import type { Tables } from '../schema.ts';

/** Does a write, and again where room could be made for it. */
export interface Room {
  /** @param mayUseReserve also in the room that is kept for the time when the disk is full */
  write<T>(work: () => Promise<T>, mayUseReserve: boolean): Promise<T>;
}

/**
 * @param emptyLog moves what the log of the database holds into the database, so that the next write begins it anew
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
 * Has every transaction of the queries go through the room.
 * @returns how one is done that takes nothing of what is kept
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
