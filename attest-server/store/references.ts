import { setImmediate } from 'node:timers/promises';
import type { Transaction } from 'kysely';
import type { AuditEvent } from '../formats/audit.ts';
import { type Reference, reference } from '../formats/reference.ts';
import { NotNow } from '../formats/reference-life.ts';
import type { ReferenceStore } from '../references/ports.ts';
import { limits } from '../wire/limits.ts';
import { Rejection } from '../wire/rejection.ts';
import type { Append } from './audit.ts';
import type { Database } from './database.ts';
import type { Tables } from './schema.ts';
import { type OnUnreadable, parseRow, parseRows } from './unreadable-row.ts';

/** References, which can also be written within a larger transaction. */
export interface StoredReferences extends ReferenceStore {
  /** Writes each under its name, replacing any earlier one, with its audit entry. @throws Rejection `too_large` */
  writeWithin(transaction: Transaction<Tables>, changes: readonly WrittenReference[]): Promise<void>;
  /** Drops the cached table. */
  forget(): void;
}

interface WrittenReference {
  readonly reference: Reference;
  readonly audit: AuditEvent;
}

export function referenceStore(
  { db, isUniqueViolation }: Database,
  append: Append,
  onUnreadable: OnUnreadable,
): StoredReferences {
  // To parse megabytes of listed files for each who asks would hold up all others.
  let known: Promise<readonly Reference[]> | null = null;
  const read = async () => {
    const names = await db.selectFrom('reference_values').select('name').orderBy('name').execute();
    const references: Reference[] = [];
    for (const { name } of names) {
      // One of these is long enough: whatever waits comes in between.
      await setImmediate();
      const rows = await db.selectFrom('reference_values').selectAll().where('name', '=', name).execute();
      references.push(...parseRows(rows, referenceOf, onUnreadable));
    }
    return references;
  };
  const changing = <T>(change: Promise<T>): Promise<T> => change.finally(() => (known = null));
  const addAll: ReferenceStore['addAll'] = (added) =>
    changing(
      db.transaction().execute(async (transaction) => {
        for (const { reference, audit } of added) {
          const body = JSON.stringify(reference);
          if ((await bytesOf(transaction)) + Buffer.byteLength(body) > limits.references.all)
            throw tooLarge();
          try {
            await transaction.insertInto('reference_values').values({ name: reference.name, body }).execute();
          } catch (cause) {
            if (!isUniqueViolation(cause)) throw cause;
            throw new NotNow(`a reference named ${reference.name} exists: choose another name`, { cause });
          }
          await append(transaction, audit);
        }
      }),
    );
  return {
    async list() {
      known ??= read();
      try {
        return await known;
      } catch (error) {
        known = null;
        throw error;
      }
    },

    add: (reference, audit) => addAll([{ reference, audit }]),

    addAll,

    remove: (name, event) =>
      changing(
        db.transaction().execute(async (transaction) => {
          const { numDeletedRows } = await transaction
            .deleteFrom('reference_values')
            .where('name', '=', name)
            .executeTakeFirst();
          if (numDeletedRows === 0n) throw new Error(`there is no reference named ${name}`);
          await append(transaction, event);
        }),
      ),

    update: (changed, event) =>
      changing(
        db.transaction().execute(async (transaction) => {
          const { numUpdatedRows } = await transaction
            .updateTable('reference_values')
            .set({ body: JSON.stringify(changed) })
            .where('name', '=', changed.name)
            .executeTakeFirst();
          if (numUpdatedRows === 0n) throw new Error(`there is no reference named ${changed.name}`);
          await append(transaction, event);
        }),
      ),

    async writeWithin(transaction, changes) {
      for (const { reference, audit } of changes) {
        const body = JSON.stringify(reference);
        await transaction
          .insertInto('reference_values')
          .values({ name: reference.name, body })
          .onConflict((conflict) => conflict.column('name').doUpdateSet({ body }))
          .execute();
        await append(transaction, audit);
      }
      if ((await bytesOf(transaction)) > limits.references.all) throw tooLarge();
    },

    forget() {
      known = null;
    },
  };
}

/** Total bytes of the stored references. */
async function bytesOf(transaction: Transaction<Tables>): Promise<number> {
  const kept = await transaction
    .selectFrom('reference_values')
    .select((row) => row.fn.sum<number>(row.fn<number>('octet_length', ['body'])).as('length'))
    .executeTakeFirst();
  return kept?.length ?? 0;
}

function tooLarge(): Rejection {
  return new Rejection(
    'too_large',
    `the references would take more than ${limits.references.all / 2 ** 20} MiB together: import smaller ones, without events`,
  );
}

/** @throws UnreadableRow */
export function referenceOf(row: Tables['reference_values']): Reference {
  return parseRow('reference', row.name, () => {
    const result = reference.safeParse(JSON.parse(row.body));
    if (result.success) return result.data;
    const issue = result.error.issues[0];
    throw new Error(`field ${issue?.path.join('.')}: ${issue?.message}`);
  });
}
