/** Says that something changed. */
export type ReportChange = (what: string) => void;

/** The server takes three at once, and then one a second; more would end the connection. */
const burst = 3;
const everyMs = 1_000;

/**
 * A change of this node that the server does not know yet. It is reported at once if that is allowed, else later: a change is
 * never lost, but several that wait become one, since each only asks to be challenged.
 */
export class PendingChanges {
  readonly #now: () => number;
  #say: ReportChange | null = null;
  #waiting: string | null = null;
  #credit = burst;
  #at: number;
  #timer: NodeJS.Timeout | undefined;

  /** @param now milliseconds of a monotonic clock */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#at = now();
  }

  note(what: string): void {
    this.#waiting = what;
    this.#speak();
  }

  /** From now on there is somebody to tell. @returns to be called when there is not any more */
  connect(say: ReportChange): () => void {
    this.#say = say;
    this.#speak();
    return () => {
      if (this.#say === say) this.#say = null;
      clearTimeout(this.#timer);
      this.#timer = undefined;
    };
  }

  #speak(): void {
    if (this.#waiting === null || this.#say === null || this.#timer !== undefined) return;
    const now = this.#now();
    this.#credit = Math.min(burst, this.#credit + (now - this.#at) / everyMs);
    this.#at = now;
    if (this.#credit < 1) {
      this.#timer = setTimeout(
        () => {
          this.#timer = undefined;
          this.#speak();
        },
        Math.ceil((1 - this.#credit) * everyMs),
      );
      return;
    }
    this.#credit -= 1;
    const what = this.#waiting;
    this.#waiting = null;
    this.#say(what);
  }
}
