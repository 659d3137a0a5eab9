/** Does some work again and again; a fault is told and ends nothing. */
export function startSweeper(
  work: readonly (() => Promise<unknown>)[],
  everyMs: number,
  fault: (error: unknown, where: string) => void,
): { close(): Promise<void> } {
  let sweeping: Promise<void> = Promise.resolve();
  const timer = setInterval(() => {
    sweeping = Promise.all(work.map((each) => each())).then(
      () => {},
      (error: unknown) => fault(error, 'sweep'),
    );
  }, everyMs);
  return {
    close() {
      clearInterval(timer);
      return sweeping;
    },
  };
}
