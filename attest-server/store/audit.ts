import type { CompiledQuery, Kysely, RawBuilder } from 'kysely';
import type { AuditStore } from '../audit/ports.ts';
import { type AuditEntry, type AuditEvent, type AuditHead, genesis } from '../formats/audit.ts';
import type { Database } from './database.ts';
import type { AuditRow, Tables } from './schema.ts';
import { hot } from './statements.ts';
import { type OnUnreadable, parseRow, UnreadableRow } from './unreadable-row.ts';

/** Makes the chained entry of an event, as `audit/chain.ts` does. The first has `seq` 1, and 64 zeros as `prev`. */
export type ChainEntry = (prev: string, seq: number, event: AuditEvent) => AuditEntry;

/** Adds an event to the audit log, within the transaction of the change that it records. */
export type Append = (transaction: Kysely<Tables>, event: AuditEvent) => Promise<void>;

export function auditAppender(db: Kysely<Tables>, chain: ChainEntry): Append {
  const headQuery = hot()(() => latestEntry(db));
  const insertQuery = hot<AuditValues>()((value) => insertEntry(db, value));
  return async (transaction, event) => {
    const head = (await transaction.executeQuery(headQuery({}))).rows[0] ?? beforeTheFirst;
    await transaction.executeQuery(insertQuery(rowOf(chain(head.hash, head.seq + 1, event))));
  };
}

/** Adds many events at once, within a transaction of the prepared statements. */
export function auditWriter(
  { db, prepare }: Database,
  chain: ChainEntry,
): (events: readonly AuditEvent[]) => Promise<void> {
  const last = prepare()(() => latestEntry(db));
  const insert = prepare<AuditValues>()((value) => insertEntry(db, value));
  return async (events) => {
    if (events.length === 0) return;
    let head: { readonly seq: number; readonly hash: string } = (await last({})) ?? beforeTheFirst;
    for (const event of events) {
      const entry = chain(head.hash, head.seq + 1, event);
      await insert(rowOf(entry));
      head = entry;
    }
  };
}

const beforeTheFirst = { seq: 0, hash: genesis };

type AuditValues = { [K in keyof AuditRow]: AuditRow[K] };

function latestEntry(db: Kysely<Tables>) {
  return db.selectFrom('audit').select(['seq', 'hash']).orderBy('seq', 'desc').limit(1).compile();
}

function insertEntry(
  db: Kysely<Tables>,
  value: <K extends keyof AuditValues>(name: K) => RawBuilder<AuditValues[K]>,
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

function rowOf(entry: AuditEntry): AuditValues {
  return {
    seq: entry.seq,
    at: entry.at,
    actor: entry.actor,
    action: entry.action,
    subject: entry.subject,
    code: entry.code,
    detail: JSON.stringify(entry.detail),
    prev: entry.prev,
    hash: entry.hash,
  };
}

/** Approximate bytes of an entry without its subject and detail: two hashes, numbers and names. */
const entryBytes = 256;

/** The log, the checkpoints over it, and the keys that sign those. */
export function auditStore(
  { db, forMachines }: Database,
  append: Append,
  onAppend: AuditStore['onAppend'],
  onUnreadable: OnUnreadable,
): AuditStore {
  return {
    append: (event) => {
      const write = (transaction: Kysely<Tables>) => append(transaction, event);
      // Attack: refusals that strangers cause use up the room in which people revoke.
      return event.action === 'refuse' ? forMachines(write) : db.transaction().execute(write);
    },

    async entries({ after = 0, limit, bytes = Number.POSITIVE_INFINITY }) {
      const query = db.selectFrom('audit').selectAll().where('seq', '>', after).orderBy('seq').limit(limit);
      const entries: AuditEntry[] = [];
      let size = 0;
      // Row by row: an earlier program kept texts of 256 KiB, and a page of these is not read at once.
      for await (const row of query.stream(1)) {
        entries.push(entryOf(row, onUnreadable));
        size += entryBytes + row.subject.length + row.detail.length;
        if (size >= bytes) break;
      }
      return entries;
    },

    head: () => headOf(db),

    async hash(seq) {
      const row = await db.selectFrom('audit').select('hash').where('seq', '=', seq).executeTakeFirst();
      return row?.hash ?? null;
    },

    // In a transaction: only what is committed together with the note may be signed.
    addCheckpoint: (sign) =>
      db.transaction().execute(async (transaction) => {
        const head = await headOf(transaction);
        const latest = await latestCheckpoint(transaction);
        if (head.size === 0 || latest?.size === head.size) return null;
        const note = sign(head);
        const id = (latest?.id ?? 0) + 1;
        await transaction.insertInto('checkpoints').values({ id, size: head.size, note }).execute();
        return note;
      }),

    latestCheckpoint: async () => (await latestCheckpoint(db))?.note ?? null,

    checkpoints: ({ after = 0, above = 0, limit }) =>
      db
        .selectFrom('checkpoints')
        .select(['id', 'note'])
        .where('id', '>', after)
        .where('size', '>', above)
        .orderBy('id')
        .limit(limit)
        .execute(),

    async origins() {
      const rows = await db.selectFrom('audit_keys').selectAll().orderBy('position').execute();
      const byOrigin = Map.groupBy(rows, ({ origin }) => origin);
      return [...byOrigin].map(([origin, its]) => ({
        origin,
        keys: its.map((row) => ({ publicKey: row.public_key, signature: row.signature })),
      }));
    },

    addKey: (origin, { publicKey, signature }, event) =>
      db.transaction().execute(async (transaction) => {
        const last = await transaction
          .selectFrom('audit_keys')
          .select('position')
          .orderBy('position', 'desc')
          .limit(1)
          .executeTakeFirst();
        const position = (last?.position ?? 0) + 1;
        await transaction
          .insertInto('audit_keys')
          .values({ position, origin, public_key: publicKey, signature })
          .execute();
        await append(transaction, event);
      }),

    async position(reader) {
      const row = await db
        .selectFrom('audit_readers')
        .select('seq')
        .where('reader', '=', reader)
        .executeTakeFirst();
      return row?.seq ?? null;
    },

    setPosition: (reader, seq) =>
      forMachines(async (transaction) => {
        if (seq === null)
          await transaction.deleteFrom('audit_readers').where('reader', '=', reader).execute();
        else
          await transaction
            .insertInto('audit_readers')
            .values({ reader, seq })
            .onConflict((conflict) => conflict.column('reader').doUpdateSet({ seq }))
            .execute();
      }),

    onAppend,
  };
}

async function headOf(db: Kysely<Tables>): Promise<AuditHead> {
  const [row] = (await db.executeQuery(latestEntry(db))).rows;
  return { size: row?.seq ?? 0, head: row?.hash ?? genesis };
}

function latestCheckpoint(db: Kysely<Tables>) {
  return db.selectFrom('checkpoints').selectAll().orderBy('id', 'desc').limit(1).executeTakeFirst();
}

/** Parses an entry. A damaged one stays in the list, its hash wrong: left out, it could hide at the end of the log. */
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
