import type { Transaction } from 'kysely';
import type { DeclaredStore } from '../declared/ports.ts';
import type { Pin } from '../enrolment/ports.ts';
import { isDeclaredActor } from '../formats/declared.ts';
import type { Append } from './audit.ts';
import type { Database } from './database.ts';
import { takeBack } from './enrolment.ts';
import type { StoredReferences } from './references.ts';
import type { Tables } from './schema.ts';

/** The active signed directory, and the pins that it listed. */
export function declaredStore(
  { db }: Pick<Database, 'db'>,
  append: Append,
  references: Pick<StoredReferences, 'writeWithin' | 'forget'>,
): DeclaredStore {
  const rows = db.selectFrom('declared_directory').selectAll();
  return {
    async read() {
      const row = await rows.executeTakeFirst();
      if (row === undefined) return null;
      const { serial, digest, key, at, policy } = row;
      return { serial, digest, key, at, policy };
    },

    async hasOtherPin({ node, ekDigest }) {
      const row = await db
        .selectFrom('declared_pins')
        .select('node')
        .where((is) =>
          is.or([
            is.and([is('node', '=', node), is('ek_digest', '!=', ekDigest)]),
            is.and([is('ek_digest', '=', ekDigest), is('node', '!=', node)]),
          ]),
        )
        .executeTakeFirst();
      return row !== undefined;
    },

    async apply({ directory, references: changes, pins, audit }) {
      try {
        await db.transaction().execute(async (transaction) => {
          const values = { id: 1 as const, ...directory };
          await transaction
            .insertInto('declared_directory')
            .values(values)
            .onConflict((conflict) => conflict.column('id').doUpdateSet(directory))
            .execute();
          await append(transaction, audit);
          await writePins(transaction, pins, audit.actor);
          await references.writeWithin(transaction, changes);
        });
      } finally {
        references.forget();
      }
    },
  };
}

/**
 * Applies only the lines of the directory that changed: a pin that an enrolment used up, or that a person took back,
 * does not return while its line stays the same.
 */
async function writePins(transaction: Transaction<Tables>, pins: readonly Pin[], by: string): Promise<void> {
  const before = await transaction.selectFrom('declared_pins').selectAll().execute();
  const said = new Map(before.map(({ node, ek_digest }) => [node, ek_digest]));
  const says = new Map(pins.map(({ node, ekDigest }) => [node, ekDigest]));
  for (const [node, ekDigest] of said) {
    if (says.get(node) === ekDigest) continue;
    await transaction.deleteFrom('declared_pins').where('node', '=', node).execute();
    const pin = await transaction
      .selectFrom('pins')
      .selectAll()
      .where('node', '=', node)
      .where('ek_digest', '=', ekDigest)
      .executeTakeFirst();
    if (pin !== undefined && isDeclaredActor(pin.by))
      await transaction.deleteFrom('pins').where('node', '=', node).execute();
  }
  for (const [node, ekDigest] of says) {
    if (said.get(node) === ekDigest) continue;
    await takeBack(transaction, node, ekDigest);
    await transaction.insertInto('pins').values({ node, ek_digest: ekDigest, by }).execute();
    await transaction.insertInto('declared_pins').values({ node, ek_digest: ekDigest }).execute();
  }
}
