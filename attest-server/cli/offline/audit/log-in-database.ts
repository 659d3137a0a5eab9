import type { DatabaseSync } from 'node:sqlite';
import { type AuditLine, auditLine, isAuditEntry } from '../../../api/audit-pages.ts';
import type { AuditEntry } from '../../../formats/audit.ts';
import type { DatabaseDamage } from '../../../formats/database-damage.ts';
import { shellWord } from '../../../wire/advice.ts';
import type { AuditOrigin } from '../../../wire/audit-key.ts';
import { type OpenedDatabase, openDatabase } from './database-file.ts';
import { inOrder } from './in-order.ts';
import { DamagedDatabase, UnreadableAuditLog } from './verify-log.ts';

/**
 * The audit log in a server's database or a backup of it, which is only read; in the order of an export.
 * @throws DamagedDatabase at its end, if another part of the file is damaged
 */
export function* readDatabase(path: string): Generator<AuditLine> {
  using database = openDatabase(path);
  let log: UnreadableAuditLog | null = null;
  try {
    yield* linesIn(database);
  } catch (error) {
    if (!(error instanceof UnreadableAuditLog)) throw error;
    log = error;
  }
  const damage = database.pageDamage();
  if (damage.length > 0) throw new DamagedDatabase(damageText(path, damage), { cause: log });
  if (log !== null) throw log;
}

/** The lines of a database that is open already. @throws UnreadableAuditLog */
export function* linesIn({
  connection,
  textOf,
}: Pick<OpenedDatabase, 'connection' | 'textOf'>): Generator<AuditLine> {
  try {
    // A database of an older version has none of these.
    const tables = connection.prepare("select 1 from sqlite_master where name = 'audit_keys'").get();
    if (tables !== undefined) yield* owners(connection);
    yield* inOrder(entries(connection), tables === undefined ? [] : notes(connection));
  } catch (cause) {
    if (cause instanceof UnreadableAuditLog) throw cause;
    throw new UnreadableAuditLog(`the audit log cannot be read on: ${textOf(cause)}`, { cause });
  }
}

function damageText(path: string, damage: readonly DatabaseDamage[]): string {
  const [first, ...more] = damage;
  const rest = more.length === 0 ? '' : ` (and ${more.length} more)`;
  return `${path} is damaged: ${first?.text}${rest}. What is damaged besides, and what to do: assay-server check --store ${shellWord(path)}`;
}

/** Which keys a server's database knows. */
export interface KnownKeys {
  /** Who signed its audit log, the one that signs now last. */
  readonly origins: readonly AuditOrigin[];
  /** Digest of the authority that its audit log saw in force last; null if it saw none follow another. */
  readonly authority: string | null;
  /** Ids of the wrapping keys that hold keys of disks in it. */
  readonly wrapping: readonly string[];
}

/** Writes nothing, not even beside the database. @throws UnreadableAuditLog */
export function readKnownKeys(path: string): KnownKeys {
  using database = openDatabase(path);
  const { connection } = database;
  try {
    const origins = [...owners(connection)].flatMap((line) => ('origin' in line ? [line] : []));
    const last = "action in ('authority.finish', 'authority.retire') order by seq desc limit 1";
    const found = connection.prepare(`select subject from audit where ${last}`).get();
    const authority = typeof found?.subject === 'string' ? found.subject : null;
    return { origins, authority, wrapping: wrappingKeysOf(connection) };
  } catch (cause) {
    if (cause instanceof UnreadableAuditLog) throw cause;
    const [damage] = database.pageDamage();
    const why = damage?.text ?? database.textOf(cause);
    throw new UnreadableAuditLog(`${path} cannot be read as a database of a server: ${why}`, { cause });
  }
}

/** A database of 0.3.0 has no volumes. */
function wrappingKeysOf(database: DatabaseSync): readonly string[] {
  if (database.prepare("select 1 from sqlite_master where name = 'volumes'").get() === undefined) return [];
  return database
    .prepare('select key_id as id from volumes union select recovery_key_id from volumes')
    .all()
    .flatMap(({ id }) => (typeof id === 'string' ? [id] : []));
}

function* owners(database: DatabaseSync): Generator<AuditLine> {
  const keys = database
    .prepare('select origin, public_key, signature from audit_keys order by position')
    .all();
  for (const [origin, its] of Map.groupBy(keys, (row) => row.origin))
    yield lineOf({
      origin,
      keys: its.map(({ public_key: publicKey, signature }) => ({ publicKey, signature })),
    });
}

function* entries(database: DatabaseSync): Generator<AuditEntry> {
  const rows = database.prepare(
    'select seq, at, actor, action, subject, code, detail, prev, hash from audit order by seq',
  );
  // Entries are many, and an array is made in half the time of an object.
  rows.setReturnArrays(true);
  for (const row of rows.iterate()) {
    const { 0: seq, 1: at, 2: actor, 3: action, 4: subject, 5: code, 6: detail, 7: prev, 8: hash } = row;
    const entry = { seq, at, actor, action, subject, code, detail: detailOf(detail), prev, hash };
    if (!isAuditEntry(entry)) throw new UnreadableAuditLog(`audit entry ${seq} cannot be read`);
    yield entry;
  }
}

function* notes(database: DatabaseSync): Generator<string> {
  for (const { note } of database.prepare('select note from checkpoints order by id').iterate()) {
    const line = lineOf({ checkpoint: note });
    if ('checkpoint' in line) yield line.checkpoint;
  }
}

function lineOf(value: unknown): AuditLine {
  const line = auditLine.safeParse(value).data;
  if (line === undefined) throw new UnreadableAuditLog('a key or a checkpoint cannot be read');
  return line;
}

/** The detail that the server shows for a damaged entry too: its hash does not fit. */
function detailOf(text: unknown): unknown {
  try {
    return JSON.parse(String(text));
  } catch {
    return { unreadable: String(text) };
  }
}
