import { type CompiledQuery, type Kysely, type RawBuilder, type SelectQueryBuilder, sql } from 'kysely';
import type { AuditStore } from '../audit/ports.ts';
import {
  type AuditEntry,
  type AuditEvent,
  type AuditFilter,
  type AuditHead,
  genesis,
  isSelected,
} from '../formats/audit.ts';
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
/** Entries that one search looks at: some ten milliseconds in which nothing else is read. */
const searched = 20_000;

/** The log, the checkpoints over it, and the keys that sign those. */
export function auditStore(
  { db, forMachines }: Database,
  append: Append,
  onAppend: AuditStore['onAppend'],
  onUnreadable: OnUnreadable,
): AuditStore {
  /** Row by row: an earlier program kept texts of 256 KiB, and a page of these is not read at once. */
  async function read(
    query: SelectQueryBuilder<Tables, 'audit', AuditRow>,
    filter: AuditFilter,
    limit: number,
    bytes: number,
  ): Promise<{ readonly items: readonly AuditEntry[]; readonly isFull: boolean }> {
    const items: AuditEntry[] = [];
    let size = 0;
    for await (const row of query.stream(1)) {
      const entry = entryOf(row, onUnreadable);
      if (!isSelected(entry, filter)) continue;
      items.push(entry);
      size += entryBytes + row.subject.length + row.detail.length;
      if (items.length >= limit || size >= bytes) return { items, isFull: true };
    }
    return { items, isFull: false };
  }

  return {
    append: (event) => {
      const write = (transaction: Kysely<Tables>) => append(transaction, event);
      // Attack: refusals that strangers cause use up the room in which people revoke.
      return event.action === 'refuse' ? forMachines(write) : db.transaction().execute(write);
    },

    async entries({ after = 0, limit, bytes = Number.POSITIVE_INFINITY }) {
      const query = db.selectFrom('audit').selectAll().where('seq', '>', after).orderBy('seq').limit(limit);
      return (await read(query, {}, limit, bytes)).items;
    },

    async search({ filter, after, newestFirst, limit, bytes }) {
      const { size } = await headOf(db);
      const first = newestFirst ? Math.min(after ?? size + 1, size + 1) - 1 : (after ?? 0) + 1;
      const last = newestFirst ? Math.max(1, first - searched + 1) : Math.min(size, first + searched - 1);
      const query = narrowed(db.selectFrom('audit').selectAll(), filter)
        .where('seq', '>=', Math.min(first, last))
        .where('seq', '<=', Math.max(first, last))
        .orderBy('seq', newestFirst ? 'desc' : 'asc');
      const isPast = newestFirst ? first < 1 : first > size;
      const { items, isFull } = isPast ? nothing : await read(query, filter, limit, bytes);
      const lookedAt = isFull ? (items.at(-1)?.seq ?? last) : last;
      return { items, next: isPast || lookedAt === (newestFirst ? 1 : size) ? null : lookedAt };
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

const nothing = { items: [], isFull: false } as const;

/** Leaves out what the database can tell by itself; `isSelected` decides about the rest. */
function narrowed(
  query: SelectQueryBuilder<Tables, 'audit', AuditRow>,
  { since, until, actor, action, node }: AuditFilter,
): SelectQueryBuilder<Tables, 'audit', AuditRow> {
  let narrow = query;
  if (since !== undefined) narrow = narrow.where('at', '>=', since);
  if (until !== undefined) narrow = narrow.where('at', '<', until);
  if (action !== undefined) narrow = narrow.where('action', 'in', action);
  for (const [text, members] of [
    [actor, sql`actor`],
    [node, sql`subject || ' ' || actor || ' ' || detail`],
  ] as const)
    if (text !== undefined) narrow = narrow.where(sql<boolean>`instr(${members}, ${text}) > 0`);
  return narrow;
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
