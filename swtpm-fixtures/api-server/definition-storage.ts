import { at, isEqual, textAt } from './json.ts';
import type { ObjectStore, StoredChange } from './object-store.ts';
import { type ResourceType, tableOf } from './resource-type.ts';
import { tooManyRequests } from './status.ts';

export interface DefinitionStorageParts {
  readonly store: ObjectStore;
  readonly now: () => number;
  /** Milliseconds that a storage needs to start, from the first request on. */
  readonly startMs: () => number;
  readonly endWatches: (resource: string) => void;
}

const definitions = 'apiextensions.k8s.io/customresourcedefinitions';

/**
 * What a new or changed definition does to its objects: the storage starts anew, with the first request. Watches
 * end, none goes back to before, and lists are refused until it is there.
 */
export class DefinitionStorage {
  readonly #parts: DefinitionStorageParts;
  /** When each of those that start was asked for first; null: it was not. */
  readonly #starting = new Map<string, number | null>();

  constructor(parts: DefinitionStorageParts) {
    this.#parts = parts;
    parts.store.listen((change) => this.#note(change));
  }

  /** @throws ApiError 429 while it starts */
  check(type: ResourceType, verb: string): void {
    const { now, startMs } = this.#parts;
    const table = tableOf(type);
    const asked = this.#starting.get(table);
    if (asked === undefined) return;
    const since = asked ?? now();
    if (now() - since >= startMs()) {
      this.#starting.delete(table);
      return;
    }
    this.#starting.set(table, since);
    if (verb === 'list' || verb === 'watch') throw tooManyRequests(1, 'storage is (re)initializing');
  }

  #note({ table, before, after, shown }: StoredChange): void {
    if (table !== definitions) return;
    const spec = at(shown.object, 'spec');
    if (before !== null && after !== null && isEqual(at(before.object, 'spec'), spec)) return;
    const plural = textAt(spec, 'names', 'plural') ?? '';
    const its = `${textAt(spec, 'group')}/${plural}`;
    if (after === null) this.#starting.delete(its);
    else this.#starting.set(its, null);
    this.#parts.store.forgetWatches(its);
    // Once the objects of a definition that went are gone, too.
    if (before !== null) queueMicrotask(() => this.#parts.endWatches(plural));
  }
}
