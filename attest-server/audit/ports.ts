import type { AuditEntry, AuditEvent, AuditHead } from '../formats/audit.ts';
import type { AuditKey, AuditOrigin } from '../wire/audit-key.ts';

/** A part of a list: entries by `seq`, checkpoints by `id`; `after` is that of the last one of the page before. */
interface Page {
  readonly after?: number;
  readonly limit: number;
}

/** Who reads the log entry by entry, each from where it was, which is a row of the database. */
export type AuditReaderName = 'webhook';

/** The audit log as it is kept: entries, the checkpoints that sign them, the keys that sign those. */
export interface AuditStore {
  append(event: AuditEvent): Promise<void>;
  /** In the order of the chain: fewer than `limit` too, where they are `bytes` together; one at least. */
  entries(page: Page & { readonly bytes?: number }): Promise<readonly AuditEntry[]>;
  /** The latest entry. */
  head(): Promise<AuditHead>;
  /** `hash` of one entry, null where there is none. */
  hash(seq: number): Promise<string | null>;
  /** Has the head signed, and keeps the note; null where the latest one has this size, or the log is empty. */
  addCheckpoint(sign: (head: AuditHead) => string): Promise<string | null>;
  latestCheckpoint(): Promise<string | null>;
  /** In the order in which they were signed; with `above` only those of more entries. */
  checkpoints(
    page: Page & { readonly above?: number },
  ): Promise<readonly { readonly id: number; readonly note: string }[]>;
  /** By origin, the one that signs now last; its keys oldest first. Empty before the first key. */
  origins(): Promise<readonly AuditOrigin[]>;
  addKey(origin: string, key: AuditKey, audit: AuditEvent): Promise<void>;
  position(reader: AuditReaderName): Promise<number | null>;
  setPosition(reader: AuditReaderName, seq: number | null): Promise<void>;
  /** Calls the listener while an entry is written: what it asks for then is answered once that is committed. @returns ends it */
  onAppend(listener: () => void): () => void;
}

/** Who signs the checkpoints of one installation: the last key of its origin. */
export interface AuditSigner extends AuditOrigin {
  /** Of the last key, raw. */
  readonly publicKey: Buffer;
  sign(message: Buffer): Buffer;
}

/** The audit key, which several servers may share: the one that rotates it is alone, and the others follow. */
export interface AuditKeys {
  /** Its file, for people. */
  readonly path: string;
  /** Null where there is none. @throws Error where it is damaged or open to others */
  read(): AuditSigner | null;
  /** Makes an installation and its first key where there is none. @throws Error as `read` */
  ensure(): Promise<AuditSigner>;
  /** Makes the next key, signed by the one before it; that one is gone when this resolves. */
  rotate(): Promise<AuditSigner>;
  /** Makes a key of a new origin. @param announce is told of it before it is kept. @throws Error where there is one */
  startAnew(announce: (signer: AuditSigner) => Promise<void>): Promise<AuditSigner>;
}
