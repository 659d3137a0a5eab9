/** Sums by key, and forgets a key at zero. */
export class Tally {
  readonly #sums = new Map<string, number>();
  #total = 0;
  get total(): number {
    return this.#total;
  }
  get sums(): ReadonlyMap<string, number> {
    return this.#sums;
  }
  of(key: string): number {
    return this.#sums.get(key) ?? 0;
  }
  add(key: string, change: number): void {
    const sum = this.of(key) + change;
    this.#total += change;
    if (sum > 0) this.#sums.set(key, sum);
    else this.#sums.delete(key);
  }
}
