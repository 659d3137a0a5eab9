import type { ExpressionBuilder, Kysely } from 'kysely';
import { z } from 'zod';
import type { LatchedPolicy } from '../in-force/ports.ts';
import type { Exemption, Hold, Latch, MarkingStore, Pause } from '../marking/ports.ts';
import type { Append } from './audit.ts';
import type { Database } from './database.ts';
import type { Tables } from './schema.ts';
import { type OnUnreadable, parseRow, parseRows, UnreadableRow } from './unreadable-row.ts';

type DecisionRow = Tables['cluster_decisions'];
type DecisionKey = Pick<DecisionRow, 'kind' | 'key'>;

const pauseOf: DecisionKey = { kind: 'pause', key: '' };
const latchOf: DecisionKey = { kind: 'latch', key: '' };
const latchedPolicyOf: DecisionKey = { kind: 'latch', key: 'policy' };

/** The latch assumed if the stored one cannot be read: the strictest. */
const wholeCluster: Latch = { groups: [], by: 'server', at: 0 };

/** Decisions of people about marks, each with its audit entry, and the least policy of a latched cluster. */
export function markingStore(
  { db }: Database,
  append: Append,
  onUnreadable: OnUnreadable,
): MarkingStore & { readonly latchedPolicy: LatchedPolicy } {
  const read = (place: DecisionKey) =>
    db.selectFrom('cluster_decisions').selectAll().where(isAt(place)).executeTakeFirst();
  const list = (kind: DecisionRow['kind']) =>
    db.selectFrom('cluster_decisions').selectAll().where('kind', '=', kind).orderBy('key').execute();
  const inOne = (work: (transaction: Kysely<Tables>) => Promise<void>) => db.transaction().execute(work);
  return {
    async pause() {
      const row = await read(pauseOf);
      if (row === undefined) return null;
      const lost = { by: 'server', reason: 'the database cannot say why it was paused', at: 0 };
      return readOr(row, pause, lost, onUnreadable);
    },

    setPause: (paused, event) =>
      inOne(async (transaction) => {
        if (paused === null) await remove(transaction, pauseOf);
        else await put(transaction, pauseOf, paused);
        await append(transaction, event);
      }),

    async latch() {
      const row = await read(latchOf);
      if (row === undefined) return null;
      return readOr(row, latch, wholeCluster, onUnreadable);
    },

    setLatch: (next, event) =>
      inOne(async (transaction) => {
        const row = await transaction
          .selectFrom('cluster_decisions')
          .selectAll()
          .where(isAt(latchOf))
          .executeTakeFirst();
        const before = row && readOr(row, latch, wholeCluster, onUnreadable);
        if (before !== undefined && shrinks(before, next))
          throw new Error('the latch covers groups that it would not cover any more: it never shrinks');
        await put(transaction, latchOf, next);
        await append(transaction, event);
      }),

    async holds() {
      return parseRows(await list('hold'), (row) => parseBody(row, hold), onUnreadable);
    },

    saveHolds: (saved) =>
      inOne(async (transaction) => {
        for (const { hold: each, audit } of saved) {
          await put(transaction, placeOf(each), each);
          await append(transaction, audit);
        }
      }),

    removeHolds: (gone) =>
      inOne(async (transaction) => {
        for (const { hold: each, audit } of gone)
          if (await remove(transaction, placeOf(each))) await append(transaction, audit);
      }),

    async exemptions() {
      return parseRows(await list('exemption'), (row) => parseBody(row, exemption), onUnreadable);
    },

    setExemption: (exempt, event) =>
      inOne(async (transaction) => {
        await put(transaction, { kind: 'exemption', key: exempt.node }, exempt);
        await append(transaction, event);
      }),

    removeExemption: (node, event) =>
      db.transaction().execute(async (transaction) => {
        const wasThere = await remove(transaction, { kind: 'exemption', key: node });
        if (wasThere) await append(transaction, event);
        return wasThere;
      }),

    latchedPolicy: {
      async read() {
        const [latched, row] = await Promise.all([read(latchOf), read(latchedPolicyOf)]);
        if (latched === undefined) return null;
        const covered = readOr(latched, latch, wholeCluster, onUnreadable);
        const kept = row && readOr(row, policy, null, onUnreadable);
        return { groups: covered.groups, policy: kept ?? null };
      },
      keep: (kept) => inOne((transaction) => put(transaction, latchedPolicyOf, kept)),
    },
  };
}

const pause: z.ZodType<Pause> = z.strictObject({ by: z.string(), reason: z.string(), at: z.number() });
const latch: z.ZodType<Latch> = z.strictObject({
  groups: z.array(z.string()),
  by: z.string(),
  at: z.number(),
});
const hold: z.ZodType<Hold> = z.strictObject({
  group: z.string(),
  code: z.string(),
  value: z.string().nullable(),
  at: z.number(),
  decision: z.enum(['open', 'held', 'released']),
  by: z.string().nullable(),
  reason: z.string().nullable(),
});
const exemption: z.ZodType<Exemption> = z.strictObject({
  node: z.string(),
  reason: z.string(),
  by: z.string(),
  at: z.number(),
  until: z.number(),
});
const policy = z.strictObject({ source: z.string(), text: z.string() });

/** The decision of a row, whichever it is. @throws UnreadableRow */
export function decisionOf(row: DecisionRow): unknown {
  const isPolicy = row.kind === 'latch' && row.key === latchedPolicyOf.key;
  return parseBody<unknown>(row, isPolicy ? policy : { pause, latch, hold, exemption }[row.kind]);
}

function placeOf({ group, code, value }: Hold): DecisionKey {
  return { kind: 'hold', key: JSON.stringify([group, code, value]) };
}

function isAt({ kind, key }: DecisionKey) {
  return ({ and, eb }: ExpressionBuilder<Tables, 'cluster_decisions'>) =>
    and([eb('kind', '=', kind), eb('key', '=', key)]);
}

async function put(transaction: Kysely<Tables>, { kind, key }: DecisionKey, value: object): Promise<void> {
  const body = JSON.stringify(value);
  await transaction
    .insertInto('cluster_decisions')
    .values({ kind, key, body })
    .onConflict((conflict) => conflict.columns(['kind', 'key']).doUpdateSet({ body }))
    .execute();
}

async function remove(transaction: Kysely<Tables>, place: DecisionKey): Promise<boolean> {
  const { numDeletedRows } = await transaction
    .deleteFrom('cluster_decisions')
    .where(isAt(place))
    .executeTakeFirstOrThrow();
  return numDeletedRows > 0n;
}

/** @throws UnreadableRow */
function parseBody<T>(row: DecisionRow, schema: z.ZodType<T>): T {
  return parseRow('cluster_decisions', `${row.kind} ${row.key}`.trim(), () =>
    schema.parse(JSON.parse(row.body)),
  );
}

/** @param otherwise stands in for a damaged row: damage must not weaken anything */
function readOr<T, D>(
  row: DecisionRow,
  schema: z.ZodType<T>,
  otherwise: D,
  onUnreadable: OnUnreadable,
): T | D {
  try {
    return parseBody(row, schema);
  } catch (error) {
    if (!(error instanceof UnreadableRow)) throw error;
    onUnreadable(error);
    return otherwise;
  }
}

/** Whether the latch covers fewer groups than before; an empty list means all of them. */
function shrinks(before: Latch, after: Latch): boolean {
  if (after.groups.length === 0) return false;
  return before.groups.length === 0 || !before.groups.every((group) => after.groups.includes(group));
}
