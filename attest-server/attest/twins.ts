/** Which nodes are enrolled with one TPM: each with the others. */
export class Twins {
  readonly #twins = new Map<string, readonly string[]>();

  add(name: string, twin: string): void {
    this.#twins.set(name, [...this.of(name), twin]);
  }

  names(): readonly string[] {
    return [...this.#twins.keys()];
  }

  of(name: string): readonly string[] {
    return this.#twins.get(name) ?? none;
  }

  /** The node is none any more: whoever had that one twin is a node of its own. */
  forget(name: string): void {
    for (const twin of this.of(name)) {
      const left = this.of(twin).filter((other) => other !== name);
      if (left.length === 0) this.#twins.delete(twin);
      else this.#twins.set(twin, left);
    }
    this.#twins.delete(name);
  }
}

const none: readonly string[] = [];
