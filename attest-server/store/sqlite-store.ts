import { resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Kysely, SqliteDialect } from 'kysely';
import { preparePrivateFile } from '../state/private-file.ts';
import { apiTokenRecords } from './api-token-records.ts';
import { auditBooks } from './audit-books.ts';
import { auditAppender, auditLog } from './audit-log.ts';
import { backUp } from './backup.ts';
import { enrolmentRecords } from './enrolment-records.ts';
import { evidenceBlobs } from './evidence-blobs.ts';
import { kyselyDatabase } from './kysely-node-sqlite.ts';
import { migrate } from './migrations.ts';
import { nodeRecords } from './node-records.ts';
import { operatorRecords } from './operator-records.ts';
import { retention } from './retention.ts';
import type { Tables } from './schema.ts';
import type { ChainEntry, Store } from './store.ts';
import type { OnUnreadable } from './unreadable-row.ts';
import { unusedEvidence } from './unused-evidence.ts';
import { verdictRecords } from './verdict-records.ts';
import { verdictWriter } from './verdict-writer.ts';

export interface SqliteStoreOptions {
  /** `chainEntry` of audit/chain.ts. */
  readonly chain: ChainEntry;
  /** Told of each row that a list left out. */
  readonly onUnreadable?: OnUnreadable;
}

/**
 * Opens the store in a file (made with mode 0600, in a folder of mode 0700), or one that lives in memory for
 * `:memory:`. A method that is asked for one damaged row rejects with `UnreadableRow`.
 * @throws Error where the file or its folder is open to others, of a newer version, or no store
 */
export async function openSqliteStore(path: string, options: SqliteStoreOptions): Promise<Store> {
  const { chain, onUnreadable = () => {} } = options;
  const database = openDatabase(path);
  const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database: kyselyDatabase(database) }) });
  const append = auditAppender(db, chain);
  const verdicts = verdictWriter(db, database, chain);
  return {
    ...nodeRecords(db, append, onUnreadable),
    ...verdictRecords(db, onUnreadable),
    recordVerdict: verdicts.add,
    ...evidenceBlobs(db),
    ...operatorRecords(db, append, onUnreadable),
    ...apiTokenRecords(db, append),
    ...enrolmentRecords(db, append),
    ...auditLog(db, append, onUnreadable),
    ...auditBooks(db, append),
    ...retention(db, append),
    ...unusedEvidence(db, append),
    backup: (to) => backUp(path, to),
    async close() {
      await verdicts.settled();
      await db.destroy();
      // Kysely leaves alone what no query has used.
      if (database.isOpen) database.close();
    },
  };
}

function openDatabase(path: string): DatabaseSync {
  const inMemory = path === ':memory:';
  const file = inMemory ? path : resolve(path);
  if (!inMemory) preparePrivateFile(file);
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file, { enableForeignKeyConstraints: true, timeout: 5000 });
    // A promise of ours means "on the disk": WAL alone syncs at checkpoints only.
    database.exec('pragma journal_mode = wal; pragma synchronous = full; pragma trusted_schema = off');
    // 16 MiB between checkpoints and 8 MiB of pages in memory: a node's rows change often, and are seldom neighbours.
    database.exec('pragma wal_autocheckpoint = 4000; pragma cache_size = -8192');
    migrate(database);
    return database;
  } catch (cause) {
    database?.close();
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`the store ${file} cannot be opened: ${why}`, { cause });
  }
}
