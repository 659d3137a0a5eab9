import { LRUCache } from 'lru-cache';
import { atMost } from '../wire/at-most.ts';
import { Rate } from '../wire/rate.ts';

/** Entries of one node: a gate opens once a boot, and tells of one opening before. No node fills the audit log with more. */
const entries = { perSecond: 1 / 600, burst: 16 };

/** Which openings of gates are worth an entry in the audit log: each one once. */
export class GateOpenings {
  readonly #nodes = new LRUCache<string, { readonly rate: Rate; last: string }>(atMost(65_536));

  /**
   * @param opening why, and for which boot
   * @param now milliseconds
   */
  isNew(node: string, opening: string, now: number): boolean {
    const known = this.#nodes.get(node) ?? { rate: new Rate(entries, now), last: '' };
    this.#nodes.set(node, known);
    if (known.last === opening || !known.rate.take(now)) return false;
    known.last = opening;
    return true;
  }
}
