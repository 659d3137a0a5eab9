/** Milliseconds within which one thing is said once, and a bounded number of things in all. */
const period = 60_000;
const most = 20;

/** Decides what of a flood is said in the log. */
export class LogLimiter {
  #since = Number.NEGATIVE_INFINITY;
  #omitted = 0;
  readonly #said = new Set<string>();

  /** @returns how often something was not said since the last time; null if this is not said either */
  take(what: string, now: number): number | null {
    if (now - this.#since >= period || now < this.#since) {
      this.#since = now;
      this.#said.clear();
    }
    if (this.#said.has(what) || this.#said.size >= most) {
      this.#omitted += 1;
      return null;
    }
    this.#said.add(what);
    const omitted = this.#omitted;
    this.#omitted = 0;
    return omitted;
  }
}
