const nothing = Promise.resolve();

/** Work on one node after the other, and on many nodes side by side. */
export class Lanes {
  readonly #lanes = new Map<string, Promise<unknown>>();

  /** Does the work when all that came before it for this name is done, well or not. */
  inOrder<T>(name: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#lanes.get(name) ?? nothing).then(work, work);
    const end = () => {
      if (this.#lanes.get(name) === settled) this.#lanes.delete(name);
    };
    const settled: Promise<unknown> = turn.then(end, end);
    this.#lanes.set(name, settled);
    return turn;
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await Promise.all(this.#lanes.values());
  }
}
