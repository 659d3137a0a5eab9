import { closeSync, openSync, readSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { type AuditLine, auditEntry, auditLine } from '../../../protocol/audit-pages.ts';
import { UnreadableAuditLog } from './verify-log.ts';

/** SQLite, "Database File Format", section 1.3: the header string. */
const magic = Buffer.from('SQLite format 3\0');

export function isDatabase(path: string): boolean {
  const file = openSync(path, 'r');
  try {
    const start = Buffer.alloc(magic.length);
    readSync(file, start, 0, start.length, 0);
    return start.equals(magic);
  } finally {
    closeSync(file);
  }
}

/** The audit log in a server's database or a backup of it, which is only read. */
export async function* readDatabase(path: string): AsyncGenerator<AuditLine> {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    // One moment of it: a server may be writing entries and checkpoints meanwhile.
    database.exec('begin');
    for (const { detail, ...row } of database.prepare('select * from audit order by seq').iterate()) {
      const entry = auditEntry.safeParse({ ...row, detail: detailOf(detail) }).data;
      if (entry === undefined) throw new UnreadableAuditLog(`audit entry ${row.seq} cannot be read`);
      yield { entry };
    }
    // A database of an older version has none of these.
    const tables = database.prepare("select 1 from sqlite_master where name = 'audit_keys'").get();
    if (tables === undefined) return;
    const keys = database
      .prepare('select origin, public_key, signature from audit_keys order by position')
      .all();
    if (keys.length === 0) return;
    for (const [origin, its] of Map.groupBy(keys, (row) => row.origin))
      yield lineOf({
        origin,
        keys: its.map(({ public_key: publicKey, signature }) => ({ publicKey, signature })),
      });
    for (const { note } of database.prepare('select note from checkpoints order by id').iterate())
      yield lineOf({ checkpoint: note });
  } catch (cause) {
    if (cause instanceof UnreadableAuditLog) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UnreadableAuditLog(`the database cannot be read on: ${why}`, { cause });
  } finally {
    database.close();
  }
}

function lineOf(value: unknown): AuditLine {
  const line = auditLine.safeParse(value).data;
  if (line === undefined) throw new UnreadableAuditLog('a key or a checkpoint cannot be read');
  return line;
}

/** What the server shows for a damaged entry too: its hash does not fit. */
function detailOf(text: unknown): unknown {
  try {
    return JSON.parse(String(text));
  } catch {
    return { unreadable: String(text) };
  }
}
