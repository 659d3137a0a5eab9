import type { KubeObject, Metadata } from './json.ts';

/** One object at one revision. Its text is made once, for whoever lists or watches. */
export class Stored {
  readonly object: KubeObject;
  #text: string | undefined;

  constructor(object: KubeObject) {
    this.object = object;
  }

  text(): string {
    this.#text ??= JSON.stringify(this.object);
    return this.#text;
  }

  /** It is not shown any more, but to a watch that is late. */
  forgetText(): void {
    this.#text = undefined;
  }
}

export interface StoredChange {
  readonly revision: number;
  readonly table: string;
  readonly key: string;
  readonly before: Stored | null;
  /** Null: it was removed. */
  readonly after: Stored | null;
  /** What is shown: after the change, or as it was last, at this revision. */
  readonly shown: Stored;
}

/**
 * What etcd and the watch cache are in a cluster: the objects, one counter of revisions for all of them, and
 * the latest changes. It survives a stop of the server.
 */
export class ObjectStore {
  readonly #tables = new Map<string, Map<string, Stored>>();
  readonly #listeners = new Set<(change: StoredChange) => void>();
  readonly #historyLimit: number;
  #history: StoredChange[] = [];
  #revision = 1;
  #forgotten = 1;

  /** @param historyLimit changes that are kept for watches */
  constructor(historyLimit: number) {
    this.#historyLimit = historyLimit;
  }

  get revision(): number {
    return this.#revision;
  }

  /** Changes up to this revision are not known any more. */
  get forgotten(): number {
    return this.#forgotten;
  }

  get(table: string, key: string): Stored | null {
    return this.#tables.get(table)?.get(key) ?? null;
  }

  /** In the order of keys. */
  list(table: string, prefix = ''): readonly (readonly [key: string, stored: Stored])[] {
    const rows = this.#tables.get(table);
    if (rows === undefined) return [];
    const found = [...rows].filter(([key]) => key.startsWith(prefix));
    return found.sort(([one], [other]) => (one < other ? -1 : 1));
  }

  tables(): readonly string[] {
    return [...this.#tables.keys()];
  }

  put(table: string, key: string, object: KubeObject): Stored {
    const revision = this.#next();
    const metadata: Metadata = { ...object.metadata, resourceVersion: String(revision) };
    const after = new Stored({ ...object, metadata });
    const rows = this.#tables.get(table) ?? new Map<string, Stored>();
    this.#tables.set(table, rows);
    const before = rows.get(key) ?? null;
    rows.set(key, after);
    this.#tell({ revision, table, key, before, after, shown: after });
    return after;
  }

  remove(table: string, key: string): Stored | null {
    const before = this.get(table, key);
    if (before === null) return null;
    const revision = this.#next();
    this.#tables.get(table)?.delete(key);
    const { object } = before;
    const shown = new Stored({
      ...object,
      metadata: { ...object.metadata, resourceVersion: String(revision) },
    });
    this.#tell({ revision, table, key, before, after: null, shown });
    return shown;
  }

  /** Changes of a table after a revision, oldest first; null where some of them are forgotten. */
  since(table: string, revision: number): readonly StoredChange[] | null {
    if (revision < this.#forgotten) return null;
    return this.#history.filter((change) => change.revision > revision && change.table === table);
  }

  /** What a compaction does: older watches and lists cannot go on. */
  forgetHistory(): void {
    this.#history = [];
    this.#forgotten = this.#revision;
  }

  listen(listener: (change: StoredChange) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  #next(): number {
    this.#revision += 1;
    return this.#revision;
  }

  #tell(change: StoredChange): void {
    this.#history.push(change);
    // Cut in one piece, so that a busy store does not move the whole list at each change.
    if (this.#history.length > 2 * this.#historyLimit) {
      const gone = this.#history.splice(0, this.#history.length - this.#historyLimit);
      this.#forgotten = gone.at(-1)?.revision ?? this.#forgotten;
    }
    for (const listener of this.#listeners) listener(change);
    change.before?.forgetText();
  }
}
