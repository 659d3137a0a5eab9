import type { Kysely } from 'kysely';
import type { Tables } from './schema.ts';
import type { Build } from './statements.ts';

/** A statement that is prepared once; gives the row that its `returning` names, undefined where there is none. */
export type Statement<V, R> = (values: V) => R | undefined | Promise<R | undefined>;

/** What a column takes. */
export type Value = string | number | bigint | Uint8Array | null;

/** The one door to SQL: what differs between databases is behind it. `sqlite/` is the only dialect yet. */
export interface Database {
  /** Queries of every kind; one runs at a time. */
  readonly db: Kysely<Tables>;
  /** For many writes in one `inTransaction`, without what Kysely does around each query. */
  prepare<V extends Readonly<Record<string, Value>>>(): <R>(build: Build<V, R>) => Statement<V, R>;
  /** Does the work in a transaction; the prepared statements that it runs are in it, and nobody else's. */
  inTransaction<T>(work: () => Promise<T>): Promise<T>;
  /** True where SQL itself refused a second row of the same key. */
  isUniqueViolation(error: unknown): boolean;
  /**
   * Writes a consistent copy, of mode 0600, while the database is in use.
   * @throws Error where the file exists, or the database lives in memory
   */
  backup(path: string): Promise<void>;
  /** The schema's number, and the bytes that the database takes on the disk. */
  size(): { readonly schema: number; readonly bytes: number };
  close(): Promise<void>;
}
