import { type NotNull, type RawBuilder, sql } from 'kysely';
import type { KeptBlob, Moved } from '../attest/ports.ts';
import type { Database } from './database.ts';
import { checked, rowBytes } from './evidence-writer.ts';
import { type MovedValues, movedColumns, movedRow } from './status-row.ts';

/** Writes, inside a transaction, the row of a node that each verdict moves, with what that verdict was made from. */
export interface ProofWriter {
  /** Of a verdict that has no row of the history. @returns false where the node is not enrolled under this key */
  keep(moved: Moved, own: KeptBlob): Promise<boolean>;
  /** Of one that was made from no other evidence, and has no row. */
  move(moved: Moved): Promise<void>;
  /** Of one that has a row. @param left the row, where the evidence that was kept here is that of this verdict: it goes there */
  leave(moved: Moved, left: number | null): Promise<void>;
}

export function proofWriter({ db, prepare }: Database): ProofWriter {
  const keep = prepare<MovedValues & { readonly name: string; readonly bytes: Buffer }>()((value) =>
    db
      .updateTable('proofs')
      .set({ ...movedColumns(value), bytes: value('bytes') })
      .where('ek_digest', '=', value('ek_digest'))
      .where('ek_digest', 'in', keyEnrolledAs(db, value('name')))
      .returning('ek_digest')
      .compile(),
  );
  const move = prepare<MovedValues>()((value) =>
    db.updateTable('proofs').set(movedColumns(value)).where('ek_digest', '=', value('ek_digest')).compile(),
  );
  // At the end again: so nodes that answer one after the other have their rows in the same pages.
  const drop = prepare<{ ek_digest: string }>()((value) =>
    db.deleteFrom('proofs').where('ek_digest', '=', value('ek_digest')).compile(),
  );
  const insert = prepare<MovedValues & { readonly name: string }>()((value) =>
    db
      .insertInto('proofs')
      .values({ ...movedColumns(value), ek_digest: value('ek_digest'), node: value('name'), bytes: null })
      .compile(),
  );
  const moveBytes = prepare<{ id: number; ek_digest: string; digest: string | null }>()((value) =>
    db
      .insertInto('answers')
      .columns(['id', 'bytes', 'held'])
      .expression(
        db
          .selectFrom('proofs')
          .select([
            value('id').as('id'),
            'bytes',
            sql<number>`length(bytes) + ${sql.lit(rowBytes)}`.as('held'),
          ])
          .where('ek_digest', '=', value('ek_digest'))
          .where('evidence_digest', '=', value('digest'))
          .where('bytes', 'is not', null)
          .$narrowType<{ bytes: NotNull }>(),
      )
      .compile(),
  );
  return {
    keep: async (moved, own) =>
      (await keep({ ...movedRow(moved), name: moved.name, bytes: checked(own) })) !== undefined,

    async move(moved) {
      await move(movedRow(moved));
    },

    async leave(moved, left) {
      const { name, ekDigest: ek_digest, evidenceDigest: digest } = moved;
      if (left !== null) await moveBytes({ id: left, ek_digest, digest });
      await drop({ ek_digest });
      await insert({ ...movedRow(moved), name });
    },
  };
}

/** A node's rows count while its key is enrolled under that name. */
export function keyEnrolledAs(db: Database['db'], name: RawBuilder<string>) {
  return db.selectFrom('nodes').select('ek_digest').where('name', '=', name).where('revoked_at', 'is', null);
}
