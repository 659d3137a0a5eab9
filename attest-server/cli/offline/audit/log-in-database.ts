import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { type AuditLine, auditLine, isAuditEntry } from '../../../api/audit-pages.ts';
import type { AuditEntry } from '../../../formats/audit.ts';
import type { AuditOrigin } from '../../../wire/audit-key.ts';
import { beginsWith } from './begins-with.ts';
import { inOrder } from './in-order.ts';
import { UnreadableAuditLog } from './verify-log.ts';

/** SQLite, "Database File Format", section 1.3: the header string. */
const magic = Buffer.from('SQLite format 3\0');

export function isDatabase(path: string): boolean {
  return beginsWith(path, magic);
}

/** The audit log in a server's database or a backup of it, which is only read; in the order of an export. */
export function* readDatabase(path: string): Generator<AuditLine> {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    // One moment of it: a server may be writing entries and checkpoints meanwhile.
    database.exec('begin');
    // A database of an older version has none of these.
    const tables = database.prepare("select 1 from sqlite_master where name = 'audit_keys'").get();
    if (tables !== undefined) yield* owners(database);
    yield* inOrder(entries(database), tables === undefined ? [] : notes(database));
  } catch (cause) {
    if (cause instanceof UnreadableAuditLog) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UnreadableAuditLog(`the database cannot be read on: ${why}`, { cause });
  } finally {
    database.close();
  }
}

/** Which keys a server's database knows. */
export interface KnownKeys {
  /** Who signed its audit log, the one that signs now last. */
  readonly origins: readonly AuditOrigin[];
  /** Digest of the authority that its audit log saw in force last; null if it saw none follow another. */
  readonly authority: string | null;
}

/** Writes nothing, not even beside the database. @throws UnreadableAuditLog */
export function readKnownKeys(path: string): KnownKeys {
  // Where nobody has it open, SQLite would make files beside it.
  const file = pathToFileURL(resolve(path));
  if (!existsSync(`${path}-wal`)) file.searchParams.set('immutable', '1');
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    const origins = [...owners(database)].flatMap((line) => ('origin' in line ? [line] : []));
    const last = "action in ('authority.finish', 'authority.retire') order by seq desc limit 1";
    const found = database.prepare(`select subject from audit where ${last}`).get();
    return { origins, authority: typeof found?.subject === 'string' ? found.subject : null };
  } catch (cause) {
    if (cause instanceof UnreadableAuditLog) throw cause;
    throw new UnreadableAuditLog(`${path} cannot be read as a database of a server`, { cause });
  } finally {
    database.close();
  }
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
