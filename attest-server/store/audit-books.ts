import type { Kysely } from 'kysely';
import { genesis } from '../protocol/audit.ts';
import type { Append } from './audit-log.ts';
import type { Tables } from './schema.ts';
import type { AuditHead, Store } from './store.ts';

/** What makes the audit log hard to rewrite: its head, signed, and the keys that sign. */
export function auditBooks(
  db: Kysely<Tables>,
  append: Append,
): Pick<
  Store,
  | 'auditHead'
  | 'auditHash'
  | 'addCheckpoint'
  | 'latestCheckpoint'
  | 'checkpoints'
  | 'auditOrigins'
  | 'addAuditKey'
> {
  return {
    auditHead: () => headOf(db),

    async auditHash(seq) {
      const row = await db.selectFrom('audit').select('hash').where('seq', '=', seq).executeTakeFirst();
      return row?.hash ?? null;
    },

    // In a transaction: only what is committed together with the note may be signed.
    addCheckpoint: (sign) =>
      db.transaction().execute(async (transaction) => {
        const head = await headOf(transaction);
        const latest = await latestOf(transaction);
        if (head.size === 0 || latest?.size === head.size) return null;
        const note = sign(head);
        const id = (latest?.id ?? 0) + 1;
        await transaction.insertInto('checkpoints').values({ id, size: head.size, note }).execute();
        return note;
      }),

    latestCheckpoint: async () => (await latestOf(db))?.note ?? null,

    checkpoints: ({ after = 0, limit }) =>
      db
        .selectFrom('checkpoints')
        .select(['id', 'note'])
        .where('id', '>', after)
        .orderBy('id')
        .limit(limit)
        .execute(),

    async auditOrigins() {
      const rows = await db.selectFrom('audit_keys').selectAll().orderBy('position').execute();
      const byOrigin = Map.groupBy(rows, ({ origin }) => origin);
      return [...byOrigin].map(([origin, its]) => ({
        origin,
        keys: its.map((row) => ({ publicKey: row.public_key, signature: row.signature })),
      }));
    },

    addAuditKey: (origin, { publicKey, signature }, event) =>
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
  };
}

async function headOf(db: Kysely<Tables>): Promise<AuditHead> {
  const row = await db
    .selectFrom('audit')
    .select(['seq', 'hash'])
    .orderBy('seq', 'desc')
    .limit(1)
    .executeTakeFirst();
  return { size: row?.seq ?? 0, head: row?.hash ?? genesis };
}

function latestOf(db: Kysely<Tables>) {
  return db.selectFrom('checkpoints').selectAll().orderBy('id', 'desc').limit(1).executeTakeFirst();
}
