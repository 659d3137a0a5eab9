/**
 * Whether verdicts can be stored: why not, since when, and whether they can again (reason code server_fault).
 */

import {
  type FaultCause,
  faultAdvice,
  faultText,
  type StorageCause,
  StorageFault,
  storageCauseOf,
} from '../formats/server-fault.ts';
import type { Reserve } from '../state/reserve.ts';
import type { WriteWatch } from '../store/database.ts';

/** Why nothing can be stored, and since when: milliseconds since the epoch. */
export interface StorageState {
  readonly cause: StorageCause;
  readonly since: number;
}

export interface HealthParts {
  readonly state: { readonly dir: string; readonly reserve: Reserve };
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly report: {
    /** A write failed. @param isNew not for the cause for which the one before failed */
    storageFailed(cause: StorageCause, error: unknown, isNew: boolean): void;
    /** Writes reach the disk again. */
    storageWorks(before: StorageState): void;
  };
}

/**
 * Whether what is judged can be stored. A fault begins with a write that fails, and ends by itself: while it lasts, a write
 * is tried each second, and the room that is kept for people is taken again.
 */
export interface Health extends WriteWatch, AsyncDisposable {
  /** Answer of `/readyz` about it. */
  ready(): { readonly ok: boolean; readonly reason: string | null };
  /** Why nothing can be stored; null if all works. */
  fault(): StorageFault | null;
  /** Advice to a person about such a fault. */
  advice(cause: FaultCause): string;
  /** Opens what needs a little room; if the disk is full, once more with the reserved room. */
  opening<T>(open: () => Promise<T>): Promise<T>;
  /**
   * From now on this write says whether a fault is over.
   * @param own as `isLow` takes it
   */
  probeBy(write: () => Promise<void>, own: () => number): void;
}

const probeEvery = 1000;

export function openHealth({ state: { dir, reserve }, now, report }: HealthParts): Health {
  let state: StorageState | null = null;
  let write = async () => {};
  let own = () => Number.POSITIVE_INFINITY;
  let probing: Promise<void> | null = null;
  let timer: NodeJS.Timeout | undefined;

  const failed = (error: unknown): void => {
    const cause = storageCauseOf(error);
    if (cause === null) return;
    if (cause === 'disk_full') reserve.free();
    begin(cause, error);
  };
  const begin = (cause: StorageCause, error: unknown): void => {
    report.storageFailed(cause, error, state?.cause !== cause);
    state = { cause, since: state?.since ?? now() };
    timer ??= setInterval(() => {
      probing ??= probe().finally(() => {
        probing = null;
      });
    }, probeEvery);
  };
  const probe = async (): Promise<void> => {
    try {
      if (reserve.isTouched(own()) || !reserve.take()) return;
      await write();
    } catch (error) {
      // The first one is reported; that it is still so is no news.
      if (storageCauseOf(error) === 'disk_full') reserve.free();
      return;
    }
    clearInterval(timer);
    timer = undefined;
    const before = state;
    state = null;
    if (before !== null) report.storageWorks(before);
  };

  const text = () =>
    state === null
      ? null
      : `${faultText(state.cause)}, since ${new Date(state.since).toISOString()}: no verdict can be stored (server_fault)`;

  return {
    ready: () => ({ ok: state === null, reason: text() }),
    isFull: () => state?.cause === 'disk_full',
    isLow(bytes) {
      if (!reserve.isTouched(bytes)) return false;
      begin('disk_full', new StorageFault('disk_full'));
      return true;
    },
    failed,
    fault: () => (state === null ? null : new StorageFault(state.cause)),
    advice: (cause) => faultAdvice(cause, dir),
    async opening(open) {
      try {
        return await open();
      } catch (error) {
        if (storageCauseOf(error) !== 'disk_full' || !reserve.isTaken) throw error;
        failed(error);
        return open();
      }
    },
    probeBy(next, free) {
      write = next;
      own = free;
      if (state === null && !reserve.take()) failed(new StorageFault('disk_full'));
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await probing;
    },
  };
}
