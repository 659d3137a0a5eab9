import type { AuditEntry, AuditEvent, AuditFilter, AuditHead } from '../formats/audit.ts';
import type { AuditKey, AuditOrigin } from '../wire/audit-key.ts';

/** A page of entries by `seq`, or of checkpoints by `id`; `after` is the last number of the page before. */
interface Page {
  readonly after?: number;
  readonly limit: number;
}

/** A part of the log in which entries are looked for. */
export interface AuditSearch {
  readonly filter: AuditFilter;
  /** `next` of the part before; null: from the oldest entry on, or from the newest. */
  readonly after: number | null;
  readonly newestFirst: boolean;
  readonly limit: number;
}

/** Matches in a part of the log: it may have none, and more may follow. */
export interface AuditFindings {
  readonly items: readonly AuditEntry[];
  /** Number of the last entry that was looked at; null if that was the last one of all. */
  readonly next: number | null;
}

/** Readers of the log; each has its position in a row of the database. */
export type AuditReaderName = 'webhook';

/** The stored audit log: entries, the checkpoints over them, and the keys that sign those. */
export interface AuditStore {
  append(event: AuditEvent): Promise<void>;
  /** Entries in the order of the chain: at most `limit`, and no more once they reach `bytes` together. */
  entries(page: Page & { readonly bytes?: number }): Promise<readonly AuditEntry[]>;
  /** Looks at a bounded part of the log, however few it finds. */
  search(search: AuditSearch & { readonly bytes: number }): Promise<AuditFindings>;
  /** Size of the log, and hash of its latest entry. */
  head(): Promise<AuditHead>;
  /** `hash` of one entry; null if there is none. */
  hash(seq: number): Promise<string | null>;
  /** Has the head signed, and stores the note; null if the latest one has this size, or the log is empty. */
  addCheckpoint(sign: (head: AuditHead) => string): Promise<string | null>;
  latestCheckpoint(): Promise<string | null>;
  /** Checkpoints in the order of their signing; with `above`, only those over more entries. */
  checkpoints(
    page: Page & { readonly above?: number },
  ): Promise<readonly { readonly id: number; readonly note: string }[]>;
  /** Origins with their keys, oldest first; the last one signs now. Empty before the first key. */
  origins(): Promise<readonly AuditOrigin[]>;
  addKey(origin: string, key: AuditKey, audit: AuditEvent): Promise<void>;
  position(reader: AuditReaderName): Promise<number | null>;
  setPosition(reader: AuditReaderName, seq: number | null): Promise<void>;
  /** Calls the listener while an entry is written: a query that it makes then runs after the commit. @returns stops it */
  onAppend(listener: () => void): () => void;
}

/** Signs the checkpoints of one installation with the last key of its origin. */
export interface AuditSigner extends AuditOrigin {
  /** The last key, raw. */
  readonly publicKey: Buffer;
  sign(message: Buffer): Buffer;
}

/** The audit key, which several servers may share: one rotates it, and the others follow. */
export interface AuditKeys {
  /** Path of its file, for messages to people. */
  readonly path: string;
  /** Null if there is no key. @throws Error if it is damaged or open to others */
  read(): AuditSigner | null;
  /** Makes an installation and its first key if there is none. @throws Error as `read` */
  ensure(): Promise<AuditSigner>;
  /** Makes the next key, signed by the present one, which is gone when this resolves. */
  rotate(): Promise<AuditSigner>;
  /** Makes a key of a new origin. @param announce called with it before it is stored. @throws Error if there is a key */
  startAnew(announce: (signer: AuditSigner) => Promise<void>): Promise<AuditSigner>;
}
