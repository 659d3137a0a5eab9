/**
 * Work by key: what is asked for again while it waits is done once, and no key is worked on twice at a time. It is
 * level-triggered: the work reads the present state.
 */
export class WorkQueue {
  readonly #work: (key: string) => Promise<void>;
  readonly #workers: () => number;
  readonly #waiting = new Set<string>();
  readonly #running = new Set<string>();
  #isOpen = true;
  #idle: (() => void)[] = [];

  /** @param work must not reject @param workers at most so many at a time, asked before each begin */
  constructor(work: (key: string) => Promise<void>, workers: () => number) {
    this.#work = work;
    this.#workers = workers;
  }

  /** Number of keys that wait or are under way. */
  get length(): number {
    return this.#waiting.size + this.#running.size;
  }

  add(key: string): void {
    if (!this.#isOpen) return;
    this.#waiting.add(key);
    this.#start();
  }

  /** Resolves when nothing waits and nothing is under way. */
  idle(): Promise<void> {
    if (this.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Begins nothing more; resolves when what is under way has ended. */
  close(): Promise<void> {
    this.#isOpen = false;
    this.#waiting.clear();
    return this.idle();
  }

  #start(): void {
    for (const key of this.#waiting) {
      if (this.#running.size >= this.#workers()) return;
      if (this.#running.has(key)) continue;
      this.#waiting.delete(key);
      this.#running.add(key);
      void this.#work(key).finally(() => {
        this.#running.delete(key);
        this.#start();
        if (this.length === 0) for (const told of this.#idle.splice(0)) told();
      });
    }
  }
}
