import type { DatabaseSync } from 'node:sqlite';
import type { CompiledQuery, Kysely, RawBuilder } from 'kysely';
import { genesis } from '../protocol/audit.ts';
import { hot, hotWrite } from './hot-query.ts';
import type { AuditRow, Tables } from './schema.ts';
import type { AuditEntry, AuditEvent, ChainEntry, Store } from './store.ts';
import { type OnUnreadable, parseRow, UnreadableRow } from './unreadable-row.ts';

/** Adds an event to the log, inside the transaction of what it tells of. */
export type Append = (transaction: Kysely<Tables>, event: AuditEvent) => Promise<void>;

export function auditAppender(db: Kysely<Tables>, chain: ChainEntry): Append {
  const headQuery = hot()(() =>
    db.selectFrom('audit').select(['seq', 'hash']).orderBy('seq', 'desc').limit(1).compile(),
  );
  const insertQuery = hot<Row>()((value) => insertEntry(db, value));
  return async (transaction, event) => {
    const head = (await transaction.executeQuery(headQuery({}))).rows[0] ?? { seq: 0, hash: genesis };
    const { detail, ...entry } = chain(head.hash, head.seq + 1, event);
    await transaction.executeQuery(insertQuery({ ...entry, detail: JSON.stringify(detail) }));
  };
}

/** The same for many events at once, by who holds the connection and has begun a transaction. */
export function auditWriter(
  db: Kysely<Tables>,
  database: DatabaseSync,
  chain: ChainEntry,
): (events: readonly AuditEvent[]) => void {
  const last = database.prepare('select seq, hash from audit order by seq desc limit 1');
  const insert = hotWrite<Row>(database)((value) => insertEntry(db, value));
  return (events) => {
    const row = last.get();
    let head =
      row === undefined ? { seq: 0, hash: genesis } : { seq: Number(row.seq), hash: String(row.hash) };
    for (const event of events) {
      const { detail, ...entry } = chain(head.hash, head.seq + 1, event);
      insert({ ...entry, detail: JSON.stringify(detail) });
      head = entry;
    }
  };
}

type Row = { [K in keyof AuditRow]: AuditRow[K] };

function insertEntry(
  db: Kysely<Tables>,
  value: <K extends keyof Row>(name: K) => RawBuilder<Row[K]>,
): CompiledQuery {
  return db
    .insertInto('audit')
    .values({
      seq: value('seq'),
      at: value('at'),
      actor: value('actor'),
      action: value('action'),
      subject: value('subject'),
      code: value('code'),
      detail: value('detail'),
      prev: value('prev'),
      hash: value('hash'),
    })
    .compile();
}

export function auditLog(
  db: Kysely<Tables>,
  append: Append,
  onUnreadable: OnUnreadable,
): Pick<Store, 'audit' | 'auditEntries'> {
  return {
    audit: (event) => db.transaction().execute((transaction) => append(transaction, event)),

    async auditEntries({ after = 0, limit }) {
      const rows = await db
        .selectFrom('audit')
        .selectAll()
        .where('seq', '>', after)
        .orderBy('seq')
        .limit(limit)
        .execute();
      return rows.map((row) => entryOf(row, onUnreadable));
    },
  };
}

/** A damaged entry stays in the list: left out, it could hide at the end of the log. Its hash does not fit. */
function entryOf(row: AuditRow, onUnreadable: OnUnreadable): AuditEntry {
  let detail: AuditEvent['detail'];
  try {
    detail = parseRow('audit', String(row.seq), () => parseDetail(row.detail));
  } catch (error) {
    if (!(error instanceof UnreadableRow)) throw error;
    onUnreadable(error);
    detail = { unreadable: row.detail };
  }
  return { ...row, detail };
}

function parseDetail(text: string): AuditEvent['detail'] {
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error('detail is not an object');
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, part]: [string, unknown]) => [key, scalar(key, part)]),
  );
}

function scalar(key: string, value: unknown): string | number | boolean | null {
  if (
    value === null ||
    typeof value === 'string' ||
    typeof value === 'number' ||
    typeof value === 'boolean'
  ) {
    return value;
  }
  throw new Error(`detail.${key} is neither text, number, boolean nor null`);
}
