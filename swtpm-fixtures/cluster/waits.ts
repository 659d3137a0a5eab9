/** In milliseconds: a longer silence looks like a fault. */
const longestSilence = 3_000;

/** Says what is waited for where nothing was said for a while, each wait once. */
export interface Waits {
  /** Until it is disposed of. @param longest milliseconds */
  begin(what: string, longest: number): Disposable;
  /** Something was said. */
  spoke(): void;
}

/** @param quiet milliseconds of silence that need a word */
export function createWaits(say: (sentence: string) => void, quiet = longestSilence): Waits {
  const unsaid = new Set<{ readonly what: string; readonly until: number }>();
  const silence = setTimeout(speak, quiet).unref();
  return {
    begin(what, longest) {
      const wait = { what, until: performance.now() + longest };
      unsaid.add(wait);
      return {
        [Symbol.dispose]() {
          unsaid.delete(wait);
        },
      };
    },
    spoke() {
      silence.refresh();
    },
  };

  function speak(): void {
    silence.refresh();
    const wait = [...unsaid].at(-1);
    if (wait === undefined) return;
    unsaid.delete(wait);
    const seconds = Math.max(1, Math.round((wait.until - performance.now()) / 1000));
    say(`Waiting for ${wait.what}: this may take up to ${seconds} s.`);
  }
}
