/** A token bucket: so many at once, and so many a second. */
export class Rate {
  readonly #burst: number;
  readonly #perSecond: number;
  #left: number;
  #at: number;

  constructor({ burst, perSecond }: { burst: number; perSecond: number }, now: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#left = burst;
    this.#at = now;
  }

  /** Whether there was one left to take. @param spared how many must be left then */
  take(now: number, spared = 0): boolean {
    this.#left = Math.min(this.#burst, this.#left + ((now - this.#at) * this.#perSecond) / 1000);
    this.#at = now;
    if (this.#left < 1 + spared) return false;
    this.#left -= 1;
    return true;
  }

  /** Takes one, if need be of those to come. @returns milliseconds until it counts */
  reserve(now: number): number {
    if (this.take(now)) return 0;
    this.#left -= 1;
    return (-this.#left / this.#perSecond) * 1000;
  }

  /** Gives some back: what was asked for costs nothing. */
  refund(count: number): void {
    this.#left = Math.min(this.#burst, this.#left + count);
  }
}
