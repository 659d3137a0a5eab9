/**
 * Until when the verdict on each node holds, by a clock that nobody sets: whoever sets the server's clock back trusts
 * nobody longer. Milliseconds throughout.
 */
export class Deadlines {
  readonly #monotonic: () => number;
  readonly #deadlines = new Map<string, number>();

  constructor(monotonic: () => number) {
    this.#monotonic = monotonic;
  }

  /** @param expiresAt by the wall clock, as it was at `at` */
  set(name: string, expiresAt: number | null, at: number): void {
    if (expiresAt !== null) this.#deadlines.set(name, this.#monotonic() + expiresAt - at);
  }

  /** By the monotonic clock; undefined where none was set. */
  of(name: string): number | undefined {
    return this.#deadlines.get(name);
  }

  /** Puts back what `of` gave. */
  restore(name: string, deadline: number | undefined): void {
    if (deadline === undefined) this.#deadlines.delete(name);
    else this.#deadlines.set(name, deadline);
  }

  isOver(name: string): boolean {
    const deadline = this.#deadlines.get(name);
    return deadline !== undefined && this.#monotonic() > deadline;
  }

  forget(name: string): void {
    this.#deadlines.delete(name);
  }
}
