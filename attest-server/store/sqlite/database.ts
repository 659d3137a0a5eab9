import { dirname, join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Kysely, SqliteDialect } from 'kysely';
import { preparePrivateFile } from '../../state/private-file.ts';
import type { Database, Statement, Value } from '../database.ts';
import type { Tables } from '../schema.ts';
import { type Build, compile } from '../statements.ts';
import { backUp } from './backup.ts';
import { inputValue, kyselyDatabase } from './driver.ts';
import { type KeyDigest, migrate } from './migrations.ts';

/**
 * SQLite in a file (made with mode 0600, in a folder of mode 0700), or one that lives in memory for `:memory:`.
 * @throws Error where the file or its folder is open to others, of a newer version, or no store
 */
export function openSqlite(path: string, keyDigest: KeyDigest | null): Database {
  const connection = open(path, keyDigest);
  const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database: kyselyDatabase(connection) }) });
  const [begin, commit] = ['begin immediate', 'commit'].map((text) => connection.prepare(text));
  return {
    db,
    prepare: () => (build) => statement(connection, build),
    // Kysely hands out the one connection in turn: nobody else's query comes between begin and commit.
    inTransaction: (work) =>
      db.connection().execute(async () => {
        begin?.run();
        try {
          const result = await work();
          commit?.run();
          return result;
        } catch (error) {
          if (connection.isTransaction) connection.exec('rollback');
          throw error;
        }
      }),
    isUniqueViolation: (error) =>
      error instanceof Error && 'errcode' in error && uniqueViolations.includes(error.errcode),
    backup: (to) => backUp(path, to),
    async close() {
      await db.destroy();
      // Kysely leaves alone what no query has used.
      if (connection.isOpen) connection.close();
    },
  };
}

/** SQLITE_CONSTRAINT_PRIMARYKEY, _UNIQUE and _TRIGGER (SQLite, "Result and Error Codes"). */
const uniqueViolations: readonly unknown[] = [1555, 2067, 1811];

function open(path: string, keyDigest: KeyDigest | null): DatabaseSync {
  const inMemory = path === ':memory:';
  const file = inMemory ? path : resolve(path);
  if (!inMemory) preparePrivateFile(file);
  let connection: DatabaseSync | undefined;
  try {
    connection = new DatabaseSync(file, { enableForeignKeyConstraints: true, timeout: 5000 });
    // A promise of ours means "on the disk": WAL alone syncs at checkpoints only.
    connection.exec('pragma journal_mode = wal; pragma synchronous = full; pragma trusted_schema = off');
    // 16 MiB between checkpoints and 8 MiB of pages in memory: a node's rows change often, and are seldom neighbours.
    connection.exec('pragma wal_autocheckpoint = 4000; pragma cache_size = -8192');
    migrate(connection, keyDigest);
    return connection;
  } catch (cause) {
    connection?.close();
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`the store ${file} cannot be opened: ${why}${whatHelps(cause, file)}`, { cause });
  }
}

/** SQLITE_CORRUPT and SQLITE_NOTADB, with their extended codes. */
const damaged: readonly number[] = [11, 26];

function whatHelps(cause: unknown, file: string): string {
  const errcode = cause instanceof Error && 'errcode' in cause ? Number(cause.errcode) & 0xff : 0;
  if (!damaged.includes(errcode)) return '';
  return `
  It is damaged. Keep a copy of it, and put the latest good copy in its place (docs/backup.md, "Restore"):
  ls -lt ${join(dirname(file), 'backups')}`;
}

function statement<V extends Readonly<Record<string, Value>>, R>(
  connection: DatabaseSync,
  build: Build<V, R>,
): Statement<V, R> {
  const { compiled, places } = compile(build);
  const prepared = connection.prepare(compiled.sql);
  const fixed = compiled.parameters.map((value, index) =>
    places[index] === undefined ? inputValue(value) : null,
  );
  const isReader = prepared.columns().length > 0;
  return (values) => {
    const parameters = places.map(
      (name, index) => (name === undefined ? fixed[index] : values[name]) ?? null,
    );
    if (isReader) {
      // The builder's type says which columns the row has.
      return prepared.get(...parameters) as R | undefined;
    }
    prepared.run(...parameters);
    return undefined;
  };
}
