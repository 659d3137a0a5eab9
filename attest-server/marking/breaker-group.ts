import type { Drift, MarkedGroup } from './judged-node.ts';
import { SortedList } from './sorted-list.ts';

/** A node as the breaker sees it. */
export interface BreakerNode {
  readonly group: Pick<MarkedGroup, 'name'>;
  /** Set if drift alone counts against it, or a change of ours. */
  readonly drift: Drift | null;
  /** Whether it carries a taint for that. */
  readonly isTainted: boolean;
  /** Whether a taint would be put: by the mode of its group, and nobody's word against it. */
  readonly mayBeTainted: boolean;
  /** Of its TPM. */
  readonly ekDigest: string | null;
  /** When it was last found trusted, in milliseconds since the epoch; null: never. */
  readonly trustedAt: number | null;
}

interface BreakerEntry extends BreakerNode {
  readonly name: string;
  readonly key: string | null;
  readonly failedAt: number;
  readonly isGranted: boolean;
}

/** One that drift, or a change of ours, counts against. */
export interface FailingEntry extends BreakerEntry {
  readonly key: string;
  readonly drift: Drift;
}

/** The nodes of one group. Its counts follow each change, and are never counted again from the start. */
export class BreakerGroup {
  readonly name: string;
  readonly nodes = new Map<string, BreakerEntry>();
  /** Those that would be tainted and are not, by the moment at which they failed. */
  readonly waiting = new SortedList<FailingEntry>(byMoment);
  /** How many carry a taint of drift, or have a place for it. */
  carried = 0;
  /** When taints of drift were put, within the window. */
  readonly placed: number[] = [];
  /** By key, without our own changes: when its nodes failed. */
  readonly #moments = new Map<string, SortedList<number>>();

  constructor(name: string) {
    this.name = name;
  }

  /** @param entry null: it is none of the group any more */
  put(name: string, entry: BreakerEntry | null): void {
    const before = this.nodes.get(name);
    if (before !== undefined && isFailing(before)) this.#uncount(before);
    if (entry === null) this.nodes.delete(name);
    else this.nodes.set(name, entry);
    if (entry !== null && isFailing(entry)) this.#count(entry);
  }

  /** How many fail by this key, and did not before that moment. */
  failedSince(key: string, moment: number): number {
    return this.#moments.get(key)?.countAfter(moment) ?? 0;
  }

  placedSince(moment: number): number {
    while (this.placed[0] !== undefined && this.placed[0] <= moment) this.placed.shift();
    return this.placed.length;
  }

  #count(entry: FailingEntry): void {
    if (entry.isTainted || entry.isGranted) this.carried += 1;
    if (mayWait(entry)) this.waiting.add(entry);
    if (entry.drift.isOurs === true) return;
    const moments = this.#moments.get(entry.key) ?? new SortedList<number>((a, b) => a - b);
    this.#moments.set(entry.key, moments);
    moments.add(entry.failedAt);
  }

  #uncount(entry: FailingEntry): void {
    if (entry.isTainted || entry.isGranted) this.carried -= 1;
    if (mayWait(entry)) this.waiting.remove(entry);
    const moments = entry.drift.isOurs === true ? undefined : this.#moments.get(entry.key);
    moments?.remove(entry.failedAt);
    if (moments?.size === 0) this.#moments.delete(entry.key);
  }
}

export function isFailing(entry: BreakerEntry): entry is FailingEntry {
  return entry.key !== null && entry.drift !== null;
}

export function mayWait(entry: BreakerEntry): entry is FailingEntry {
  return isFailing(entry) && !entry.isTainted && entry.mayBeTainted;
}

function byMoment(a: BreakerEntry, b: BreakerEntry): number {
  return a.failedAt - b.failedAt || (a.name < b.name ? -1 : Number(a.name > b.name));
}
