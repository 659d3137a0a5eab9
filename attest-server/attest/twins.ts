import type { AmongNodes } from './among-nodes.ts';

type Names = readonly string[];

/**
 * Which nodes are enrolled with one TPM: each with the others. It is enrolment that says so, also of a node whose
 * record is archived: such a claim is released when the node is no longer enrolled.
 */
export class Twins implements AmongNodes<string, Names, Names> {
  readonly #twins = new Map<string, Names>();

  claim(name: string, twin: string): Names {
    this.restore(name, [...this.of(name), twin]);
    return this.of(name);
  }

  restore(name: string, twins: Names): void {
    this.#twins.set(name, twins);
  }

  names(): Names {
    return [...this.#twins.keys()];
  }

  of(name: string): Names {
    return this.#twins.get(name) ?? none;
  }

  /** Whoever had that one twin is a node of its own. */
  release(name: string): void {
    for (const twin of this.of(name)) {
      const left = this.of(twin).filter((other) => other !== name);
      if (left.length === 0) this.#twins.delete(twin);
      else this.restore(twin, left);
    }
    this.#twins.delete(name);
  }
}

const none: Names = [];
