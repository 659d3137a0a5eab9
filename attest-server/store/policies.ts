import { type Kysely, sql } from 'kysely';
import { type PolicyArrival, policyArrivals } from '../formats/policy-arrival.ts';
import type { PolicyStore } from '../in-force/ports.ts';
import type { Append } from './audit.ts';
import type { Database } from './database.ts';
import type { Tables } from './schema.ts';

/** How many texts are kept beside the active one, and their total bytes: the largest policy has less than 1 MiB. */
const mostKept = 100;
const keptBytes = 16 * 1024 * 1024;

/** Present and earlier policies, and decisions of people about which one is active. */
export function policyStore({ db }: Pick<Database, 'db'>, append: Append): PolicyStore {
  const decided = (kind: Tables['policy_decisions']['kind']) =>
    db.selectFrom('policy_decisions').selectAll().where('kind', '=', kind).executeTakeFirst();
  return {
    async list() {
      const rows = await db
        .selectFrom('policies')
        .select(['digest', 'name', 'source', 'first_at', 'last_at', 'ended_at', 'came', 'by', 'reason'])
        .select(sql<number>`length(text)`.as('length'))
        .orderBy(sql`ended_at is null`, 'desc')
        .orderBy('ended_at', 'desc')
        .orderBy('last_at', 'desc')
        .execute();
      return rows.map(({ first_at, last_at, ended_at, came, ...row }) => ({
        ...row,
        firstAt: first_at,
        lastAt: last_at,
        endedAt: ended_at,
        came: arrivalOf(came),
      }));
    },

    async text(digest) {
      const row = await db
        .selectFrom('policies')
        .select('text')
        .where('digest', '=', digest)
        .executeTakeFirst();
      return row?.text ?? null;
    },

    async rollback() {
      const row = await decided('rollback');
      if (row === undefined) return null;
      const { digest, instead_of, at, by, reason } = row;
      return { digest, insteadOf: instead_of ?? '', at, by, reason };
    },

    async allowance() {
      const row = await decided('allowance');
      if (row === undefined) return null;
      const { digest, at, by, reason } = row;
      return { digest, at, by, reason };
    },

    enter: ({ digest, text, came, ...said }, { at, rollback, audit }) =>
      db.transaction().execute(async (transaction) => {
        await transaction
          .updateTable('policies')
          .set({ ended_at: at })
          .where('ended_at', 'is', null)
          .where('digest', '!=', digest)
          .execute();
        const entered = { ...said, last_at: at, ended_at: null, came };
        await transaction
          .insertInto('policies')
          .values({ digest, text, first_at: at, ...entered })
          .onConflict((conflict) => conflict.column('digest').doUpdateSet(entered))
          .execute();
        await transaction.deleteFrom('policy_decisions').where('kind', '=', 'rollback').execute();
        if (rollback !== null) {
          const { insteadOf, ...decision } = rollback;
          const row = { kind: 'rollback' as const, instead_of: insteadOf, ...decision };
          await transaction.insertInto('policy_decisions').values(row).execute();
        }
        const allowance = await transaction
          .selectFrom('policy_decisions')
          .select('digest')
          .where('kind', '=', 'allowance')
          .executeTakeFirst();
        if (allowance !== undefined && digest.startsWith(allowance.digest))
          await transaction.deleteFrom('policy_decisions').where('kind', '=', 'allowance').execute();
        await makeRoom(transaction);
        if (audit !== null) await append(transaction, audit);
      }),

    allow: (allowance, audit) =>
      db.transaction().execute(async (transaction) => {
        const row = { kind: 'allowance' as const, instead_of: null, ...allowance };
        await transaction
          .insertInto('policy_decisions')
          .values(row)
          .onConflict((conflict) => conflict.column('kind').doUpdateSet(row))
          .execute();
        await append(transaction, audit);
      }),
  };
}

/** Erases the oldest policies. Attack: somebody who can change the policy file fills the disk with policies. */
async function makeRoom(transaction: Kysely<Tables>): Promise<void> {
  const earlier = await transaction
    .selectFrom('policies')
    .select(['digest', sql<number>`octet_length(text)`.as('bytes')])
    .where('ended_at', 'is not', null)
    .orderBy('ended_at', 'desc')
    .execute();
  let bytes = 0;
  const gone = earlier.filter((each, index) => {
    bytes += each.bytes;
    return index >= mostKept || bytes > keptBytes;
  });
  for (const { digest } of gone)
    await transaction.deleteFrom('policies').where('digest', '=', digest).execute();
}

/** How a policy came to be active; a word that this version does not know cannot be a person's doing. */
function arrivalOf(came: string): PolicyArrival {
  return policyArrivals.find((each) => each === came) ?? 'start';
}
