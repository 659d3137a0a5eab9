import { LRUCache } from 'lru-cache';
import { atOnce } from '../../formats/in-steps.ts';
import type { ProvenImaList } from '../../verify/ima/proven-list.ts';
import { atMost } from '../../wire/at-most.ts';
import type { SortEntry } from './sort-entry.ts';
import { FileTally } from './tally.ts';

/** How far one node's list was judged, and what was seen up to there. */
export interface ListProgress {
  /** As in ProvenImaList. */
  readonly head: string;
  readonly tally: FileTally;
}

/** Follows the lists of many nodes. What is kept of each is small, however long its list is. */
export class ListFollower {
  readonly #sort: SortEntry;
  readonly #entriesInStep: number;
  readonly #byNode: LRUCache<string, ListProgress>;

  /** @param most nodes that are followed at once; of others the list is wanted from its start */
  constructor(sort: SortEntry, entriesInStep: number, most: number) {
    this.#sort = sort;
    this.#entriesInStep = entriesInStep;
    this.#byNode = new LRUCache(atMost(most));
  }

  judgedTo(node: string): string | null {
    return this.#byNode.get(node)?.head ?? null;
  }

  /** Null if entries before these were not judged here: then it must come from its start. */
  follow(node: string, list: ProvenImaList): ListProgress | null {
    return atOnce(this.#steps(node, list, Number.MAX_SAFE_INTEGER));
  }

  *ahead(node: string, list: ProvenImaList): Generator<void> {
    yield* this.#steps(node, list, this.#entriesInStep);
  }

  /** The steps of a list's judgement; of one that is left midway nothing is kept: the earlier tally is not touched. */
  *#steps(node: string, list: ProvenImaList, entries: number): Generator<void, ListProgress | null> {
    const known = this.#byNode.get(node) ?? null;
    if (known?.head === list.head) return known;
    if (list.since !== null && known?.head !== list.since) {
      this.#byNode.delete(node);
      return null;
    }
    const tally = (list.since === null ? null : known?.tally.copy()) ?? new FileTally();
    yield* list.walkInSteps((entry) => this.#sort(entry, tally, list), entries);
    const progress = { head: list.head, tally };
    this.#byNode.set(node, progress);
    return progress;
  }
}
