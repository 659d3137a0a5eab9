import { LRUCache } from 'lru-cache';

/** Milliseconds from one entry of a node to the next: a gate opens once a boot, whatever it says. */
const leastBetween = 10_000;

/** Which openings of gates are worth an entry in the audit log: one each, so that no node fills that. */
export class GateOpenings {
  readonly #last = new LRUCache<string, { readonly opening: string; readonly at: number }>({ max: 65_536 });

  /**
   * @param opening why, and for which boot
   * @param at milliseconds since the epoch
   */
  isNew(node: string, opening: string, at: number): boolean {
    const last = this.#last.get(node);
    if (last !== undefined && (last.opening === opening || Math.abs(at - last.at) < leastBetween))
      return false;
    this.#last.set(node, { opening, at });
    return true;
  }
}
