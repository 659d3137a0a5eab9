/** Who is woken. */
export interface Sleeper {
  /** @param now milliseconds of a monotonic clock, at or after the time that was asked for */
  wake(now: number): void;
}

/** How exactly one is woken, in milliseconds: never before the time, and up to this much after it. */
export const tick = 5;
/** Ticks without anybody to wake that are slept through at a time. */
const longestSleep = 40;

/**
 * Wakes any number of sleepers with one timer, which runs only while there is somebody to wake. Nobody is taken off
 * the list again: who changes his mind finds that nothing is due.
 */
export class TimerWheel {
  readonly #now: () => number;
  readonly #slots = new Map<number, Sleeper[]>();
  #timer: NodeJS.Timeout | undefined;
  /** The tick that the timer is set to. */
  #set = Number.POSITIVE_INFINITY;
  /** The last tick whose sleepers were woken. */
  #past = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  at(time: number, sleeper: Sleeper): void {
    if (this.#slots.size === 0) this.#past = Math.floor(this.#now() / tick);
    const slot = Math.max(Math.ceil(time / tick), this.#past + 1);
    const others = this.#slots.get(slot);
    if (others === undefined) this.#slots.set(slot, [sleeper]);
    else others.push(sleeper);
    if (slot < this.#set) this.#sleep();
  }

  #sleep(): void {
    clearTimeout(this.#timer);
    this.#set = Number.POSITIVE_INFINITY;
    if (this.#slots.size === 0) return;
    let slot = this.#past + 1;
    while (slot < this.#past + longestSleep && !this.#slots.has(slot)) slot += 1;
    this.#set = slot;
    this.#timer = setTimeout(() => this.#ring(), Math.max(1, Math.ceil(slot * tick - this.#now())));
    // Whoever sleeps has a connection, and that keeps the process running.
    this.#timer.unref();
  }

  #ring(): void {
    const now = this.#now();
    const last = Math.floor(now / tick);
    while (this.#past < last) {
      const slot = ++this.#past;
      const woken = this.#slots.get(slot);
      if (woken === undefined) continue;
      this.#slots.delete(slot);
      for (const sleeper of woken) sleeper.wake(now);
    }
    this.#sleep();
  }
}
