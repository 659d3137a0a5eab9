/** Does some work again and again until it is disposed of; a fault is reported and ends nothing. */
export function startSweeper(
  work: readonly (() => Promise<unknown>)[],
  everyMs: number,
  fault: (error: unknown, where: string) => void,
): AsyncDisposable {
  let sweeping: Promise<void> = Promise.resolve();
  const timer = setInterval(() => {
    sweeping = Promise.all(work.map((each) => each())).then(
      () => {},
      (error: unknown) => fault(error, 'sweep'),
    );
  }, everyMs);
  return {
    [Symbol.asyncDispose]() {
      clearInterval(timer);
      return sweeping;
    },
  };
}
