import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Does the work for whoever asks, at most once in so many milliseconds: who comes sooner waits, and those who wait
 * share one turn, which begins after each of them asked.
 */
export function paced(everyMs: number, work: () => Promise<void>): () => Promise<void> {
  let last = Number.NEGATIVE_INFINITY;
  let next: Promise<void> | null = null;
  const turn = async () => {
    await sleep(Math.max(0, last + everyMs - performance.now()));
    next = null;
    last = performance.now();
    await work();
  };
  return () => {
    next ??= turn();
    return next;
  };
}
