import type { Kysely, Transaction } from 'kysely';
import type { Tables } from './schema.ts';
import type { Build } from './statements.ts';

/** A statement that is prepared once. It gives the row of its `returning`; undefined if there is none. */
export type Statement<V, R> = (values: V) => R | undefined | Promise<R | undefined>;

/** A value that a column can hold. */
export type ColumnValue = string | number | bigint | Uint8Array | null;

/** Watches the writes, and knows whether the disk is full. */
export interface WriteWatch {
  /** A write failed for a storage fault. If the disk is full, its reserve is freed by this call. */
  failed(error: unknown): void;
  /** Whether the disk was found full, and has no room yet. */
  isFull(): boolean;
  /**
   * Whether the disk has only the room left that is kept for people, which machines must not take.
   * @param own bytes that the database has free within its file, less those by which the file will grow
   */
  isLow(own: number): boolean;
}

/** The only access to SQL, which hides the dialect. `sqlite/` is the only one so far. */
export interface Database {
  /** Queries of every kind; one runs at a time. */
  readonly db: Kysely<Tables>;
  /** Prepares a statement for many writes in one `inTransaction`, without Kysely's work around each query. */
  prepare<V extends Readonly<Record<string, ColumnValue>>>(): <R>(build: Build<V, R>) => Statement<V, R>;
  /**
   * Runs the work in a transaction of the prepared statements, and only its own. If the disk is full, the work may run
   * twice, and takes none of the room kept for people.
   */
  inTransaction<T>(work: () => Promise<T>): Promise<T>;
  /** Runs a transaction for machines and strangers: it takes none of the room kept for people, either. */
  forMachines<T>(work: (transaction: Transaction<Tables>) => Promise<T>): Promise<T>;
  /** Writes without changing anything. @throws Error if writing fails */
  probe(): Promise<void>;
  /** Whether SQL itself refused a second row of the same key. */
  isUniqueViolation(error: unknown): boolean;
  /**
   * Writes a consistent copy, of mode 0600, while the database is in use.
   * @throws Error if the file exists, or the database lives in memory
   */
  backup(path: string): Promise<void>;
  /** Bytes free within the file, less those by which it will grow when its log is emptied. */
  free(): number;
  /** The schema's number, and the bytes of the database on the disk. */
  size(): { readonly schema: number; readonly bytes: number };
  close(): Promise<void>;
}
