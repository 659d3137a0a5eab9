/** A list that stays in order: to add, to remove and to count cost a search, and no look at each item. */
export class SortedList<T> implements Iterable<T> {
  readonly #compare: (a: T, b: T) => number;
  readonly #items: T[] = [];

  /** @param compare as for `sort`; 0 only for items of which either may be removed */
  constructor(compare: (a: T, b: T) => number) {
    this.#compare = compare;
  }

  get size(): number {
    return this.#items.length;
  }

  /** After those that equal it. */
  add(item: T): void {
    this.#items.splice(this.#upTo(item), 0, item);
  }

  /** One that equals it, where there is one. */
  remove(item: T): void {
    const index = this.#upTo(item) - 1;
    const found = this.#items[index];
    if (found !== undefined && this.#compare(found, item) === 0) this.#items.splice(index, 1);
  }

  /** How many come after all that equal it. */
  countAfter(item: T): number {
    return this.#items.length - this.#upTo(item);
  }

  [Symbol.iterator](): Iterator<T> {
    return this.#items.values();
  }

  #upTo(item: T): number {
    let [low, high] = [0, this.#items.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const found = this.#items[middle];
      if (found !== undefined && this.#compare(found, item) <= 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
