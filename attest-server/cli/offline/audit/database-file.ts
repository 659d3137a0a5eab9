import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { type DatabaseDamage, databaseMagic } from '../../../formats/database-damage.ts';
import { faultText, storageCauseOf } from '../../../formats/server-fault.ts';
import { readFileDamage } from '../../../state/file-damage.ts';
import { beginsWith } from './begins-with.ts';

/** How long to wait for another program that holds the database, in milliseconds. */
const waitsFor = 5_000;
/** Faults of pages that are looked for. */
const mostFaults = 1_000;

export function isDatabase(path: string): boolean {
  return beginsWith(path, databaseMagic);
}

/** A database that is only read, at one moment of it. */
export interface OpenedDatabase extends Disposable {
  readonly connection: DatabaseSync;
  /** Damage of header and size. Whatever is asked of such a database may be wrong, or throw. */
  readonly ofFile: DatabaseDamage | null;
  /** Damage of pages, indexes and rows as SQLite finds it. It reads the whole file once. */
  pageDamage(): readonly DatabaseDamage[];
  /** A sentence about an error of SQLite, without its codes. */
  textOf(error: unknown): string;
}

/**
 * Opens a database or a backup to read it; a server may be writing it meanwhile. Nothing is written, not even beside it.
 * @throws Error of Node.js where it cannot be opened
 */
export function openDatabase(path: string): OpenedDatabase {
  const file = pathToFileURL(resolve(path));
  const hasLog = () => existsSync(`${path}-wal`);
  const isAlone = !hasLog();
  // Where nobody has it open, SQLite would make files beside it.
  if (isAlone) file.searchParams.set('immutable', '1');
  const ofFile = readFileDamage(path);
  const connection = new DatabaseSync(file, { readOnly: true, timeout: waitsFor });
  const textOf = (error: unknown) => {
    if (isAlone && hasLog()) return `a server has opened it meanwhile: type the command again`;
    const cause = storageCauseOf(error);
    if (cause === null || cause === 'damaged') return error instanceof Error ? error.message : String(error);
    return faultText(cause);
  };
  try {
    // A header that is not one fails with the first query, and not here.
    if (ofFile === null) connection.exec('begin');
  } catch (error) {
    connection.close();
    throw error;
  }
  return {
    connection,
    ofFile,
    textOf,
    pageDamage: () => (ofFile === null ? pagesOf(connection, textOf) : [ofFile]),
    [Symbol.dispose]: () => connection.close(),
  };
}

function pagesOf(connection: DatabaseSync, textOf: (error: unknown) => string): readonly DatabaseDamage[] {
  const named = new Map<string, DatabaseDamage>();
  const add = (table: string | null, text: string) => {
    if (named.get(text)?.table == null) named.set(text, { kind: 'pages', table, text });
  };
  const roots = new Map<string, string>();
  const tables = new Map<string, string>();
  const look = (table: string | null, sql: string, take: (row: Record<string, SQLOutputValue>) => void) => {
    try {
      for (const row of connection.prepare(sql).iterate()) take(row);
      return true;
    } catch (error) {
      // It gives up where it can go no further; the rows that came before it hold.
      add(table, table === null ? textOf(error) : `its rows cannot be read on: ${textOf(error)}`);
      return false;
    }
  };
  const takeLines = ({ integrity_check: lines }: Record<string, SQLOutputValue>) => {
    for (const text of String(lines).split('\n').filter(isFault))
      add(tableIn(text), text.replace(/^Tree \d+ (page \d+): btreeInitPage.*/, '$1 is overwritten'));
  };
  const tableIn = (text: string): string | null => {
    const [, tree] = /^Tree (\d+)/.exec(text) ?? [];
    const [, name] = /(?:index|value in|failed in) (\w+)/.exec(text) ?? [];
    return roots.get(tree ?? '') ?? tables.get(name ?? '') ?? null;
  };
  look(null, 'select name, tbl_name, rootpage from sqlite_schema', ({ name, tbl_name: table, rootpage }) => {
    tables.set(String(name), String(table));
    roots.set(String(rootpage), String(table));
  });
  if (!look(null, `pragma integrity_check(${mostFaults})`, takeLines))
    for (const table of new Set(tables.values()))
      look(table, `pragma integrity_check("${table}")`, takeLines);
  look(null, 'pragma foreign_key_check', ({ table, rowid, parent }) =>
    add(String(table), `row ${rowid} of ${table} names a row of ${parent} that is gone`),
  );
  const found = [...named.values()];
  const placed = found.filter(({ table }) => table !== null);
  return placed.length > 0 ? placed : found;
}

function isFault(line: string): boolean {
  return line !== '' && line !== 'ok' && !line.startsWith('***');
}
