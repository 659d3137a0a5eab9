import type { Kysely, Transaction } from 'kysely';
import type { Tables } from './schema.ts';
import type { Build } from './statements.ts';

/** A statement that is prepared once; gives the row that its `returning` names, undefined where there is none. */
export type Statement<V, R> = (values: V) => R | undefined | Promise<R | undefined>;

/** What a column takes. */
export type Value = string | number | bigint | Uint8Array | null;

/** Who is told how writing goes. */
export interface WriteWatch {
  /** A write failed for a fault of the storage. Where the disk is full, room that was kept for it is free afterwards. */
  failed(error: unknown): void;
  /** Whether the disk was found full, and not yet free again. */
  isFull(): boolean;
  /**
   * Whether the disk has no more room than people are to have, of which machines take nothing.
   * @param own bytes that the database has free within its file, less what it will grow by
   */
  isLow(own: number): boolean;
}

/** The one door to SQL: what differs between databases is behind it. `sqlite/` is the only dialect yet. */
export interface Database {
  /** Queries of every kind; one runs at a time. */
  readonly db: Kysely<Tables>;
  /** For many writes in one `inTransaction`, without what Kysely does around each query. */
  prepare<V extends Readonly<Record<string, Value>>>(): <R>(build: Build<V, R>) => Statement<V, R>;
  /**
   * Does the work in a transaction; the prepared statements that it runs are in it, and nobody else's. Where the disk is
   * full it may be done twice, and takes nothing of what is kept for people.
   */
  inTransaction<T>(work: () => Promise<T>): Promise<T>;
  /** A transaction for what machines and strangers have the server write: it takes nothing of what is kept for people, either. */
  forMachines<T>(work: (transaction: Transaction<Tables>) => Promise<T>): Promise<T>;
  /** Writes, and changes nothing. @throws where nothing can be written */
  probe(): Promise<void>;
  /** True where SQL itself refused a second row of the same key. */
  isUniqueViolation(error: unknown): boolean;
  /**
   * Writes a consistent copy, of mode 0600, while the database is in use.
   * @throws Error where the file exists, or the database lives in memory
   */
  backup(path: string): Promise<void>;
  /** Bytes that it has free within its file, less what it will grow by when its log is emptied. */
  free(): number;
  /** The schema's number, and the bytes that the database takes on the disk. */
  size(): { readonly schema: number; readonly bytes: number };
  close(): Promise<void>;
}
