import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Runs the work on request, at most once in so many milliseconds. Earlier requests wait, and share one run, which
 * begins after all of them were made.
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
