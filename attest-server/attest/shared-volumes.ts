import type { SharedVolume } from '../policy/aspect.ts';

/**
 * Which enrolled node shows which LUKS volumes, by their marks (policy/disk/memory.ts): what two nodes show was copied.
 * It is the nodes' own word. A node has at most as many marks as its part may hold headers.
 */
export class SharedVolumes {
  readonly #byMark = new Map<string, Set<string>>();
  readonly #byNode = new Map<string, readonly string[]>();

  /** Notes what a proven answer shows, or what a store holds of it: these, and no others. */
  note(name: string, marks: readonly string[]): void {
    const before = this.#byNode.get(name);
    if (before?.length === marks.length && before.every((mark, index) => mark === marks[index])) return;
    this.forget(name);
    if (marks.length === 0) return;
    this.#byNode.set(name, marks);
    for (const mark of marks) {
      const holders = this.#byMark.get(mark);
      if (holders === undefined) this.#byMark.set(mark, new Set([name]));
      else holders.add(name);
    }
  }

  /** What this node shows and others show, too, with their names in order. */
  sharedBy(name: string): readonly SharedVolume[] {
    const shared: SharedVolume[] = [];
    for (const mark of this.#byNode.get(name) ?? none) {
      const holders = this.#byMark.get(mark);
      if (holders === undefined || holders.size < 2) continue;
      const others = [...holders].filter((holder) => holder !== name);
      shared.push({ mark, nodes: others.sort().slice(0, mostNamed) });
    }
    return shared;
  }

  marksOf(name: string): readonly string[] {
    return this.#byNode.get(name) ?? none;
  }

  /** The node is none any more. */
  forget(name: string): void {
    for (const mark of this.#byNode.get(name) ?? none) {
      const holders = this.#byMark.get(mark);
      holders?.delete(name);
      if (holders?.size === 0) this.#byMark.delete(mark);
    }
    this.#byNode.delete(name);
  }
}

const none: readonly string[] = [];
/** Of a fleet that was cloned, some are enough to be named. */
const mostNamed = 8;
