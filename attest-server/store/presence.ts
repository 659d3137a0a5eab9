import type { Kysely, Selectable } from 'kysely';
import type { KeptPresence, PresenceStore } from '../presence/ports.ts';
import type { Append } from './audit.ts';
import type { Database } from './database.ts';
import { latestEraser } from './retention.ts';
import type { Tables } from './schema.ts';

/** Keys of archived nodes, which are in no list and are not loaded into memory. */
export function archivedKeys(db: Kysely<Tables>) {
  return db.selectFrom('presence').select('ek_digest').where('archived_at', 'is not', null);
}

/** Nodes that the cluster has or had, and when they were missing, gone and archived. */
export function presenceStore({ db, forMachines }: Database, append: Append): PresenceStore {
  const enrolled = db
    .selectFrom('presence')
    .innerJoin('nodes', 'nodes.ek_digest', 'presence.ek_digest')
    .select(['name', 'presence.ek_digest', 'missing_since', 'gone_at'])
    .where('revoked_at', 'is', null);
  return {
    async load() {
      await recoverReturns(db);
      const rows = await enrolled.where('archived_at', 'is', null).execute();
      return rows.map(presenceOf);
    },

    async read(name) {
      const row = await enrolled.where('name', '=', name).executeTakeFirst();
      return row === undefined ? null : presenceOf(row);
    },

    async enrolledAmong(names) {
      const rows = await db
        .selectFrom('nodes')
        .select('name')
        .where('revoked_at', 'is', null)
        .where('name', 'in', names)
        .execute();
      return rows.map(({ name }) => name);
    },

    noteNodes: (ekDigests) =>
      forMachines(async (transaction) => {
        for (const ek_digest of ekDigests)
          await transaction
            .insertInto('presence')
            .values({ ek_digest, ...there })
            .onConflict((conflict) => conflict.column('ek_digest').doNothing())
            .execute();
      }),

    leave: (nodes) =>
      forMachines(async (transaction) => {
        for (const { ekDigest, missingSince, goneAt, audit } of nodes) {
          await transaction
            .updateTable('presence')
            .set({ missing_since: missingSince, gone_at: goneAt })
            .where('ek_digest', '=', ekDigest)
            .execute();
          await append(transaction, audit);
        }
      }),

    comeBack: (nodes) =>
      forMachines(async (transaction) => {
        for (const { ekDigest, audit } of nodes) {
          await transaction.updateTable('presence').set(there).where('ek_digest', '=', ekDigest).execute();
          await append(transaction, audit);
        }
      }),

    archive: (ekDigests, at, audit, erased) =>
      forMachines(async (transaction) => {
        await transaction
          .updateTable('presence')
          .set({ archived_at: at })
          .where('ek_digest', 'in', ekDigests)
          .where('gone_at', 'is not', null)
          .execute();
        const answers = await latestEraser(transaction).where('ek_digest', 'in', ekDigests).execute();
        await append(transaction, audit);
        if (answers.length > 0) await append(transaction, erased(answers.map(({ digest }) => digest)));
      }),

    forgetAll: (audit) =>
      db.transaction().execute(async (transaction) => {
        const { numUpdatedRows } = await transaction
          .updateTable('presence')
          .set(there)
          .where('gone_at', 'is not', null)
          .executeTakeFirstOrThrow();
        const count = Number(numUpdatedRows);
        if (count > 0) await append(transaction, audit(count));
        return count;
      }),
  };
}

const there = { missing_since: null, gone_at: null, archived_at: null } as const;

/** Lists archived nodes again whose verdict is untrusted or newer, in case a server was killed before it did. */
async function recoverReturns(db: Kysely<Tables>): Promise<void> {
  await db
    .updateTable('presence')
    .set({ archived_at: null })
    .where('archived_at', 'is not', null)
    .where('ek_digest', 'in', (from) =>
      from
        .selectFrom('statuses')
        .innerJoin('presence as kept', 'kept.ek_digest', 'statuses.ek_digest')
        .innerJoin('proofs', 'proofs.ek_digest', 'statuses.ek_digest')
        .select('statuses.ek_digest')
        .where('kept.archived_at', 'is not', null)
        .where((is) =>
          is.or([is('statuses.state', '=', 'untrusted'), is('verified_at', '>', is.ref('kept.archived_at'))]),
        ),
    )
    .execute();
}

type NamedPresenceRow = Pick<Selectable<Tables['presence']>, 'ek_digest' | 'missing_since' | 'gone_at'> & {
  readonly name: string;
};

function presenceOf({ name, ek_digest, missing_since, gone_at }: NamedPresenceRow): KeptPresence {
  return { name, ekDigest: ek_digest, missingSince: missing_since, goneAt: gone_at };
}
