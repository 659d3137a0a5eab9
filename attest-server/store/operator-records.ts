import type { Kysely } from 'kysely';
import { type Reference, reference } from '../protocol/reference.ts';
import { Rejection } from '../protocol/rejection.ts';
import type { Append } from './audit-log.ts';
import { isUniqueViolation } from './constraint.ts';
import { takeBackWords } from './enrolment-records.ts';
import type { Tables } from './schema.ts';
import type { Pin, Store } from './store.ts';
import { type OnUnreadable, parseRow, parseRows } from './unreadable-row.ts';

/** Of all references together, in characters: they are read at once, and kept as one beside evidence that names them. */
const referenceLength = 64 * 1024 * 1024;

/** What people told the server: reference values, pinned endorsement keys, join tokens. */
export function operatorRecords(
  db: Kysely<Tables>,
  append: Append,
  onUnreadable: OnUnreadable,
): Pick<
  Store,
  | 'references'
  | 'addReference'
  | 'updateReference'
  | 'pins'
  | 'pinFor'
  | 'addPins'
  | 'addJoinToken'
  | 'joinToken'
> {
  const pins = db.selectFrom('pins').selectAll();
  return {
    async references() {
      const rows = await db.selectFrom('reference_values').selectAll().orderBy('name').execute();
      return parseRows(rows, referenceOf, onUnreadable);
    },

    addReference: (added, event) =>
      db.transaction().execute(async (transaction) => {
        const body = JSON.stringify(added);
        const kept = await transaction
          .selectFrom('reference_values')
          .select((row) => row.fn.sum<number>(row.fn<number>('length', ['body'])).as('length'))
          .executeTakeFirst();
        if ((kept?.length ?? 0) + body.length > referenceLength)
          throw new Rejection(
            'too_large',
            `the references would take more than ${referenceLength / 2 ** 20} MiB together: import smaller ones, without events`,
          );
        try {
          await transaction.insertInto('reference_values').values({ name: added.name, body }).execute();
        } catch (cause) {
          if (!isUniqueViolation(cause)) throw cause;
          throw new Error(`a reference named ${added.name} exists: choose another name`, { cause });
        }
        await append(transaction, event);
      }),

    updateReference: (changed, event) =>
      db.transaction().execute(async (transaction) => {
        const { numUpdatedRows } = await transaction
          .updateTable('reference_values')
          .set({ body: JSON.stringify(changed) })
          .where('name', '=', changed.name)
          .executeTakeFirst();
        if (numUpdatedRows === 0n) throw new Error(`there is no reference named ${changed.name}`);
        await append(transaction, event);
      }),

    pins: async () => (await pins.orderBy('node').execute()).map(pinOf),

    async pinFor(node) {
      const row = await pins.where('node', '=', node).executeTakeFirst();
      return row === undefined ? null : pinOf(row);
    },

    /** A later word about a node or a key replaces the earlier one; nodes that are enrolled stay as they are. */
    addPins: (added, event) =>
      db.transaction().execute(async (transaction) => {
        const names = new Set(added.map(({ node }) => node));
        const keys = new Set(added.map(({ ekDigest }) => ekDigest));
        if (names.size < added.length || keys.size < added.length) {
          throw new Error('the list names a node or an endorsement key twice: keep one line of each');
        }
        for (const { node, ekDigest } of added) {
          await takeBackWords(transaction, node, ekDigest);
          await transaction.insertInto('pins').values({ node, ek_digest: ekDigest }).execute();
        }
        await append(transaction, event);
      }),

    addJoinToken: (token, event) =>
      db.transaction().execute(async (transaction) => {
        await transaction
          .insertInto('join_tokens')
          .values({
            id: token.id,
            secret_hash: token.secretHash,
            node: token.node,
            expires_at: token.expiresAt,
            used_at: token.usedAt,
          })
          .execute();
        await append(transaction, event);
      }),

    async joinToken(id) {
      const row = await db.selectFrom('join_tokens').selectAll().where('id', '=', id).executeTakeFirst();
      if (row === undefined) return null;
      return {
        id: row.id,
        secretHash: row.secret_hash,
        node: row.node,
        expiresAt: row.expires_at,
        usedAt: row.used_at,
      };
    },
  };
}

function pinOf(row: Tables['pins']): Pin {
  return { node: row.node, ekDigest: row.ek_digest };
}

/** @throws UnreadableRow */
function referenceOf(row: Tables['reference_values']): Reference {
  return parseRow('reference', row.name, () => {
    const result = reference.safeParse(JSON.parse(row.body));
    if (result.success) return result.data;
    const issue = result.error.issues[0];
    throw new Error(`field ${issue?.path.join('.')}: ${issue?.message}`);
  });
}
