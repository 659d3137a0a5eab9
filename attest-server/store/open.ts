/**
 * The store: a file for each port that a room declares, and one access to SQL for all (`database`). `sqlite` is the
 * only dialect; its migrations (`sqlite/migrations`) bring a database to the present schema, step by step.
 *
 * PostgreSQL would be a folder beside it: Kysely's dialect with a pool, bigint read as numbers and bytea,
 * tables and triggers in its dialect, error 23505 for a second row of one key, pg_dump for a backup,
 * pg_database_size; and the one condition outside of that folder in SQLite's dialect, that of the index
 * evidence_that_names (`unused-evidence`). It would cost an advisory lock at the beginning of each writing
 * transaction, because the audit chain, checkpoints and the share of all references are read before they are
 * written (SQLite has one writer anyway), a savepoint around inserts that may be refused, and a call of the
 * listeners of the audit log after the commit, as they read it then.
 */

import type { InitrdStore } from '../attest/ports.ts';
import type { AuditStore } from '../audit/ports.ts';
import type { DeclaredStore } from '../declared/ports.ts';
import type { EnrolmentStore } from '../enrolment/ports.ts';
import type { EventStore } from '../events/ports.ts';
import type { EvidenceStore } from '../evidence/ports.ts';
import type { TokenStore } from '../http/ports.ts';
import type { LatchedPolicy, PolicyStore } from '../in-force/ports.ts';
import type { LeaseStore } from '../keys/ports.ts';
import type { MarkingStore } from '../marking/ports.ts';
import type { PresenceStore } from '../presence/ports.ts';
import type { ReferenceStore } from '../references/ports.ts';
import { auditAppender, auditStore, type ChainEntry } from './audit.ts';
import type { WriteWatch } from './database.ts';
import { declaredStore } from './declared.ts';
import { enrolmentStore } from './enrolment.ts';
import { eventStore } from './events.ts';
import { evidenceStore } from './evidence.ts';
import { initrdStore } from './initrds.ts';
import { leaseStore } from './leases.ts';
import { markingStore } from './marking.ts';
import { policyStore } from './policies.ts';
import { presenceStore } from './presence.ts';
import { referenceStore } from './references.ts';
import { openSqlite } from './sqlite/database.ts';
import { tokenStore } from './tokens.ts';
import type { OnUnreadable } from './unreadable-row.ts';
import { verdictWriter } from './verdict-writer.ts';
import { type Verdicts, verdictStore } from './verdicts.ts';

/** The store, by user: each member implements a port that its user declares. */
export interface Store extends AsyncDisposable {
  readonly enrolment: EnrolmentStore;
  readonly verdicts: Verdicts;
  readonly evidence: EvidenceStore;
  readonly initrds: InitrdStore;
  readonly references: ReferenceStore;
  readonly declared: DeclaredStore;
  readonly policies: PolicyStore;
  readonly tokens: TokenStore;
  readonly marking: MarkingStore & { readonly latchedPolicy: LatchedPolicy };
  readonly presence: PresenceStore;
  readonly events: EventStore;
  readonly leases: LeaseStore;
  readonly audit: AuditStore;
  /**
   * Writes a consistent copy, of mode 0600, while the store is in use.
   * @throws Error if the file exists, or the store lives in memory
   */
  backup(path: string): Promise<void>;
  /** Writes without changing anything. @throws Error if writing fails */
  probe(): Promise<void>;
  /** Bytes free within the database file. */
  free(): number;
  /** The schema's number, and the bytes of the database on the disk. */
  size(): { readonly schema: number; readonly bytes: number };
}

export interface StoreOptions {
  /** `chainEntry` of audit/chain.ts. */
  readonly chain: ChainEntry;
  /** Called for each unreadable row that a list leaves out. */
  readonly onUnreadable: OnUnreadable;
  /** Watches the writes. */
  readonly watch: WriteWatch;
}

/**
 * Opens the store in a file (made with mode 0600, in a folder of mode 0700), or one that lives in memory for
 * `:memory:`. A method that is asked for a single damaged row rejects with `UnreadableRow`.
 * @throws Error if the file or its folder is open to others, or the file is no store, of a newer version, or before 0.3.0
 */
export async function openStore(path: string, { chain, onUnreadable, watch }: StoreOptions): Promise<Store> {
  const database = openSqlite(path, watch);
  const listeners = new Set<() => void>();
  // Within its transaction: a listener that reads now waits for the one connection, and so for the commit.
  const told: ChainEntry = (...entry) => {
    for (const listener of listeners) listener();
    return chain(...entry);
  };
  const append = auditAppender(database.db, told);
  const writer = verdictWriter(database, told);
  const references = referenceStore(database, append, onUnreadable);
  return {
    enrolment: enrolmentStore(database, append, writer.settled, onUnreadable),
    verdicts: verdictStore(database, writer, onUnreadable),
    evidence: evidenceStore(database, append, writer),
    initrds: initrdStore(database),
    references,
    declared: declaredStore(database, append, references),
    policies: policyStore(database, append),
    tokens: tokenStore(database, append),
    marking: markingStore(database, append, onUnreadable),
    presence: presenceStore(database, append),
    events: eventStore(database, onUnreadable),
    leases: leaseStore(database, append, references),
    audit: auditStore(database, append, listenTo(listeners), onUnreadable),
    backup: database.backup,
    probe: database.probe,
    free: database.free,
    size: database.size,
    async [Symbol.asyncDispose]() {
      await writer.settled();
      await database.close();
    },
  };
}

function listenTo(listeners: Set<() => void>): AuditStore['onAppend'] {
  return (listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  };
}
