import pLimit from 'p-limit';
import { storageCauseOf } from '../formats/server-fault.ts';

/** How long the first record of a batch waits for others, in milliseconds. */
const gatherFor = 8;
/** The most records in one transaction. */
export const mostInBatch = 256;

/** Writes records that arrive within a few milliseconds in one transaction, with one sync to disk. */
export interface GroupCommit<R> {
  /** Resolves when the record is committed; rejects with the fault of this record, not with that of another one. */
  add(record: R): Promise<void>;
  /** Resolves when everything added so far is committed or refused. */
  settled(): Promise<void>;
}

/** Why each record of a batch was left out, in order; null if it is committed. */
export type Refusals = readonly (Error | null)[];

interface QueuedRecord<R> {
  readonly record: R;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/** @param write commits these records in order, except those that it refuses; or commits none, and rejects */
export function groupCommit<R>(write: (records: readonly R[]) => Promise<Refusals>): GroupCommit<R> {
  let waiting: QueuedRecord<R>[] = [];
  let timer: NodeJS.Timeout | undefined;
  const inTurn = pLimit(1);

  const flush = (): Promise<void> => {
    clearTimeout(timer);
    timer = undefined;
    const batch = waiting;
    waiting = [];
    return inTurn(() => commit(batch));
  };

  const commit = async (batch: readonly QueuedRecord<R>[]): Promise<void> => {
    if (batch.length === 0) return;
    let refusals: Refusals;
    try {
      refusals = await write(batch.map(({ record }) => record));
    } catch (error) {
      // Where one finds no room, no other does: 256 attempts would block all else.
      if (batch.length === 1 || storageCauseOf(error) === 'disk_full') {
        for (const { reject } of batch) reject(error);
        return;
      }
      // Nothing of the batch was written: each record on its own shows which one is bad.
      for (const each of batch) await commit([each]);
      return;
    }
    batch.forEach(({ resolve, reject }, index) => {
      const refusal = refusals[index] ?? null;
      if (refusal === null) resolve();
      else reject(refusal);
    });
  };

  return {
    add: (record) =>
      new Promise<void>((resolve, reject) => {
        waiting.push({ record, resolve, reject });
        if (waiting.length >= mostInBatch) void flush();
        else timer ??= setTimeout(() => void flush(), gatherFor);
      }),
    settled: flush,
  };
}
