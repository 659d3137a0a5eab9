import { type Reference, reference } from '../protocol/reference.ts';
import { Rejection } from '../protocol/rejection.ts';
import type { ReferenceStore } from '../references/ports.ts';
import type { Append } from './audit.ts';
import type { Database } from './database.ts';
import type { Tables } from './schema.ts';
import { type OnUnreadable, parseRow, parseRows } from './unreadable-row.ts';

/** Of all references together, in characters: they are read at once, and kept as one beside evidence that names them. */
const referenceLength = 64 * 1024 * 1024;

export function referenceStore(
  { db, isUniqueViolation }: Database,
  append: Append,
  onUnreadable: OnUnreadable,
): ReferenceStore {
  const addAll: ReferenceStore['addAll'] = (added) =>
    db.transaction().execute(async (transaction) => {
      for (const { reference, audit } of added) {
        const body = JSON.stringify(reference);
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
          await transaction.insertInto('reference_values').values({ name: reference.name, body }).execute();
        } catch (cause) {
          if (!isUniqueViolation(cause)) throw cause;
          throw new Error(`a reference named ${reference.name} exists: choose another name`, { cause });
        }
        await append(transaction, audit);
      }
    });
  return {
    async list() {
      const rows = await db.selectFrom('reference_values').selectAll().orderBy('name').execute();
      return parseRows(rows, referenceOf, onUnreadable);
    },

    add: (reference, audit) => addAll([{ reference, audit }]),

    addAll,

    update: (changed, event) =>
      db.transaction().execute(async (transaction) => {
        const { numUpdatedRows } = await transaction
          .updateTable('reference_values')
          .set({ body: JSON.stringify(changed) })
          .where('name', '=', changed.name)
          .executeTakeFirst();
        if (numUpdatedRows === 0n) throw new Error(`there is no reference named ${changed.name}`);
        await append(transaction, event);
      }),
  };
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
