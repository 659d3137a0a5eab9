/** Bytes: so many at once, and so many a day. */
export interface ByteRate {
  readonly burst: number;
  readonly aDay: number;
}

const day = 24 * 3600 * 1000;

/** Bytes that may still be written; the budget refills with time. */
export class ByteBudget {
  readonly #rate: ByteRate;
  #left: number;
  #at: number;

  /** @param at milliseconds */
  constructor(rate: ByteRate, at: number) {
    this.#rate = rate;
    this.#left = rate.burst;
    this.#at = at;
  }

  holds(bytes: number, at: number): boolean {
    // A clock that was set back gives nothing, and takes nothing away.
    const passed = Math.max(0, at - this.#at);
    this.#at = at;
    this.#left = Math.min(this.#rate.burst, this.#left + (passed / day) * this.#rate.aDay);
    return bytes <= this.#left;
  }

  /** Takes bytes that `holds` allowed. */
  take(bytes: number): void {
    this.#left -= bytes;
  }
}
