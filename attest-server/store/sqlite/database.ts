import { statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Kysely, SqliteDialect } from 'kysely';
import { damageAdvice } from '../../formats/database-damage.ts';
import { storageCauseOf } from '../../formats/server-fault.ts';
import { readFileDamage } from '../../state/file-damage.ts';
import { preparePrivateFile } from '../../state/private-file.ts';
import { shareOfDisk } from '../../state/reserve.ts';
import type { ColumnValue, Database, Statement, WriteWatch } from '../database.ts';
import type { Tables } from '../schema.ts';
import { type Build, compile } from '../statements.ts';
import { backUp } from './backup.ts';
import { inputValue, kyselyDatabase } from './driver.ts';
import { checkSchema, migrate, schemaVersion } from './migrations.ts';
import { roomFor, writeInRoom } from './room.ts';

/**
 * SQLite in a file (made with mode 0600, in a folder of mode 0700), or one that lives in memory for `:memory:`.
 * @throws Error if the file or its folder is open to others, or the file is no store, of a newer version, or before 0.3.0
 */
export function openSqlite(path: string, watch: WriteWatch): Database {
  const connection = open(path);
  const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database: kyselyDatabase(connection) }) });
  const [begin, commit] = ['begin immediate', 'commit'].map((text) => connection.prepare(text));
  // Kysely hands out the one connection in turn: nobody else's query comes between begin and commit.
  const transact = <T>(work: () => Promise<T>): Promise<T> =>
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
    });
  const free = path === ':memory:' ? () => Number.POSITIVE_INFINITY : freeIn(connection, path);
  const room = roomFor(watch, () => db.connection().execute(async () => emptyLog(connection)), free);
  const forMachines = writeInRoom(db, room);
  return {
    db,
    prepare: () => (build) => statement(connection, build),
    forMachines,
    inTransaction: (work) => room.write(() => transact(work), false),
    // Another program that holds the database holds whoever waits for it: this one does not wait.
    async probe() {
      connection.exec('pragma busy_timeout = 0');
      try {
        await transact(async () => connection.exec(`pragma user_version = ${schemaVersion}`));
      } finally {
        connection.exec(`pragma busy_timeout = ${waitsFor}`);
      }
    },
    isUniqueViolation: (error) =>
      error instanceof Error && 'errcode' in error && uniqueViolations.includes(error.errcode),
    backup: (to) => backUp(path, to),
    free,
    size: () => ({ schema: schemaVersion, bytes: bytesOf(path) }),
    async close() {
      await db.destroy();
      // Kysely leaves alone what no query has used.
      if (connection.isOpen) connection.close();
    },
  };
}

/** Bytes on the disk, with the write-ahead log and its index; 0 for a database in memory. */
function bytesOf(path: string): number {
  return ['', '-wal', '-shm']
    .map((suffix) => statSync(`${path}${suffix}`, { throwIfNoEntry: false })?.size ?? 0)
    .reduce((sum, size) => sum + size, 0);
}

/** Free bytes within the file, less those by which the write-ahead log will make it grow. */
function freeIn(connection: DatabaseSync, path: string): () => number {
  const [unused, all] = (['freelist_count', 'page_count'] as const).map((what) => {
    const count = connection.prepare(`pragma ${what}`);
    return () => Number(count.get()?.[what]) * pageBytes;
  });
  return () => {
    const file = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    return (unused?.() ?? 0) - Math.max(0, (all?.() ?? 0) - file);
  };
}

/** Moves the write-ahead log into the database, as far as readers and the room on the disk allow. */
function emptyLog(connection: DatabaseSync): void {
  try {
    connection.exec('pragma wal_checkpoint(passive)');
  } catch (error) {
    // No room for it: the write that follows says so, and to whom it matters.
    if (storageCauseOf(error) === null) throw error;
  }
}

/** How long to wait for another program that writes, in milliseconds. */
const waitsFor = 5000;

/** Pages of the write-ahead log between two checkpoints, and their size. */
const pageBytes = 4096;
const mostPages = 4000;

/** SQLITE_CONSTRAINT_PRIMARYKEY, _UNIQUE and _TRIGGER (SQLite, "Result and Error Codes"). */
const uniqueViolations: readonly unknown[] = [1555, 2067, 1811];

function open(path: string): DatabaseSync {
  const inMemory = path === ':memory:';
  const file = inMemory ? path : resolve(path);
  if (!inMemory) preparePrivateFile(file);
  let connection: DatabaseSync | undefined;
  try {
    if (!inMemory) checkUntouched(file);
    connection = new DatabaseSync(file, { enableForeignKeyConstraints: true, timeout: waitsFor });
    // A promise of ours means "on the disk": WAL alone syncs at checkpoints only.
    connection.exec('pragma journal_mode = wal; pragma synchronous = full; pragma trusted_schema = off');
    // 16 MiB between checkpoints and 8 MiB of pages in memory: a node's rows change often, and are seldom neighbours.
    const pages = inMemory ? mostPages : shareOfDisk(dirname(file), mostPages * pageBytes) / pageBytes;
    connection.exec(`pragma wal_autocheckpoint = ${Math.floor(pages)}; pragma cache_size = -8192`);
    migrate(connection);
    return connection;
  } catch (cause) {
    connection?.close();
    const why = storageCauseOf(cause) === 'damaged' ? damageIn(file, cause) : messageOf(cause);
    throw new Error(`the store ${file} cannot be opened: ${why}${whatHelps(cause, file)}`, { cause });
  }
}

/** Checks the schema read-only: a refused file must not change, and a writing connection would checkpoint its log. */
function checkUntouched(file: string): void {
  try {
    checkBy(file, true);
  } catch (error) {
    // SQLITE_READONLY: a journal waits to be rolled back, as of a program that was killed while it made the file. Nobody reads before that.
    if (codeOf(error) !== 8) throw error;
    checkBy(file, false);
  }
}

function checkBy(file: string, readOnly: boolean): void {
  using connection = new DatabaseSync(file, { readOnly, timeout: waitsFor });
  checkSchema(connection);
}

/** The primary result code of SQLite; 0 for other errors. */
function codeOf(error: unknown): number {
  return error instanceof Error && 'errcode' in error ? Number(error.errcode) & 0xff : 0;
}

/** Where it is damaged, as far as header and size show it. */
function damageIn(file: string, cause: unknown): string {
  return readFileDamage(file)?.text ?? `a part of it is damaged (${messageOf(cause)})`;
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

function whatHelps(cause: unknown, file: string): string {
  if (storageCauseOf(cause) !== 'damaged') return '';
  return `\n  ${damageAdvice(dirname(file))}`;
}

function statement<V extends Readonly<Record<string, ColumnValue>>, R>(
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
