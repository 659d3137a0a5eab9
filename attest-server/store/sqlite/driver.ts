import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import type { SqliteDatabase, SqliteStatement } from 'kysely';

/** More distinct texts than the store has; bounded, as a text may have a varying number of placeholders. */
const cacheSize = 256;

/** Kysely's SQLite dialect on `node:sqlite`; each SQL text is prepared once. */
export function kyselyDatabase(database: DatabaseSync): SqliteDatabase {
  const cache = new Map<string, SqliteStatement>();
  return {
    prepare(sql) {
      let statement = cache.get(sql);
      if (statement === undefined) {
        if (cache.size >= cacheSize) cache.clear();
        // Writers take the lock at once: a transaction that began as a reader cannot be retried.
        statement = adapt(database.prepare(sql === 'begin' ? 'begin immediate' : sql));
        // A commit that finds no room has rolled back already: a second time would hide why.
        if (sql === 'rollback') statement = onlyWhere(() => database.isTransaction, statement);
        cache.set(sql, statement);
      }
      return statement;
    },
    close() {
      cache.clear();
      if (database.isOpen) database.close();
    },
  };
}

function onlyWhere(isDue: () => boolean, statement: SqliteStatement): SqliteStatement {
  const nothing = { changes: 0, lastInsertRowid: 0 };
  return {
    reader: statement.reader,
    all: (parameters) => statement.all(parameters),
    run: (parameters) => (isDue() ? statement.run(parameters) : nothing),
    iterate: (parameters) => statement.iterate(parameters),
  };
}

function adapt(statement: StatementSync): SqliteStatement {
  return {
    reader: statement.columns().length > 0,
    all: (parameters) => statement.all(...parameters.map(inputValue)),
    run: (parameters) => statement.run(...parameters.map(inputValue)),
    iterate: (parameters) => statement.iterate(...parameters.map(inputValue)),
  };
}

/** @throws TypeError for a value that no column can hold */
export function inputValue(value: unknown): SQLInputValue {
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint') {
    return value;
  }
  if (value instanceof Uint8Array) return value;
  throw new TypeError(`a value of type ${typeof value} cannot be stored`);
}
