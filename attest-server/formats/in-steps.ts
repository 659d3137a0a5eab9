/** Does work that takes long, and lets whatever else waits come in between its steps. @param pause waited for after each */
export async function inSteps<T>(work: Iterator<void, T>, pause: () => Promise<void> = others): Promise<T> {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
    await pause();
  }
}

function others(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The same at once. */
export function atOnce<T>(work: Iterator<void, T>): T {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
  }
}
