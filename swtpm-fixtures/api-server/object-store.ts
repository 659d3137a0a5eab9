import type { JsonObject, KubeObject, Metadata } from './json.ts';
import { unexplained } from './status.ts';

/** What one request to etcd may hold, by its default. */
const mostBytes = 1.5 * 1024 * 1024;

/** One object at one revision. Its text is made once, for whoever lists or watches. */
export class Stored {
  readonly object: KubeObject;
  #text: string | undefined;

  constructor(object: KubeObject) {
    this.object = object;
  }

  text(): string {
    this.#text ??= JSON.stringify(inOrder(this.object));
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
  /** Watches of any table go back to here; a table may have been opened anew since. */
  #forgotten = 1;
  readonly #opened = new Map<string, number>();
  #compacted = 1;

  /** @param historyLimit changes that are kept for watches */
  constructor(historyLimit: number) {
    this.#historyLimit = historyLimit;
  }

  get revision(): number {
    return this.#revision;
  }

  /** Lists of revisions before this one cannot be made any more. */
  get compacted(): number {
    return this.#compacted;
  }

  /** Changes of a table up to this revision are not known any more. */
  forgotten(table: string): number {
    return Math.max(this.#forgotten, this.#opened.get(table) ?? 0);
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

  /** The rows as they were at a revision; null where that is forgotten. */
  listAt(
    revision: number,
    table: string,
    prefix: string,
  ): readonly (readonly [key: string, stored: Stored])[] | null {
    if (revision < this.#compacted) return null;
    const rows = new Map(this.list(table, prefix));
    for (const change of this.#history.toReversed()) {
      if (change.revision <= revision) break;
      if (change.table !== table || !change.key.startsWith(prefix)) continue;
      if (change.before === null) rows.delete(change.key);
      else rows.set(change.key, change.before);
    }
    return [...rows].sort(([one], [other]) => (one < other ? -1 : 1));
  }

  tables(): readonly string[] {
    return [...this.#tables.keys()];
  }

  /** @throws ApiError 500 for an object that is too large for etcd */
  put(table: string, key: string, object: KubeObject): Stored {
    const revision = this.#revision + 1;
    const metadata: Metadata = { ...object.metadata, resourceVersion: String(revision) };
    const after = new Stored({ ...object, metadata });
    if (after.text().length > mostBytes) throw unexplained('etcdserver: request is too large');
    this.#revision = revision;
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
    this.#revision += 1;
    const revision = this.#revision;
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
    if (revision < this.forgotten(table)) return null;
    return this.#history.filter((change) => change.revision > revision && change.table === table);
  }

  /** What a compaction of etcd does: lists do not go back to before now. Watches do. */
  compact(): void {
    this.#compacted = this.#revision;
  }

  /** What a new watch cache has: no watch goes back to before now. @param table default: all of them */
  forgetWatches(table?: string): void {
    if (table === undefined) this.#forgotten = this.#revision;
    else this.#opened.set(table, this.#revision);
  }

  listen(listener: (change: StoredChange) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  #tell(change: StoredChange): void {
    this.#history.push(change);
    // Cut in one piece, so that a busy store does not move the whole list at each change.
    if (this.#history.length > 2 * this.#historyLimit) {
      const gone = this.#history.splice(0, this.#history.length - this.#historyLimit);
      const last = gone.at(-1)?.revision ?? 0;
      this.#forgotten = Math.max(this.#forgotten, last);
      this.#compacted = Math.max(this.#compacted, last);
    }
    for (const listener of this.#listeners) listener(change);
    change.before?.forgetText();
  }
}

/** As the API writes its own types: of what they are, and of their metadata, the first members. */
function inOrder({ kind, apiVersion, metadata, ...rest }: KubeObject): JsonObject {
  const { name, generateName, namespace, uid, resourceVersion, generation, creationTimestamp, ...others } =
    metadata;
  return {
    kind,
    apiVersion,
    metadata: {
      name,
      ...(generateName !== undefined && { generateName }),
      ...(namespace !== undefined && { namespace }),
      ...(uid !== undefined && { uid }),
      ...(resourceVersion !== undefined && { resourceVersion }),
      ...(generation !== undefined && { generation }),
      ...(creationTimestamp !== undefined && { creationTimestamp }),
      ...others,
    },
    ...rest,
  };
}
