import { setImmediate } from 'node:timers/promises';

/** Does work that takes long, and lets whatever else waits come in between its steps. */
export async function inSteps<T>(work: Iterator<void, T>): Promise<T> {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
    await setImmediate();
  }
}
