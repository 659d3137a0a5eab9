import { type NotNull, type RawBuilder, sql } from 'kysely';
import type { KeptBlob, Moved } from '../attest/ports.ts';
import type { Database } from './database.ts';
import { checked, rowBytes } from './evidence-writer.ts';
import { type MovedValues, movedColumns, movedRow } from './status-row.ts';

/** Writes, within a transaction, the row of a node that every verdict updates, with the evidence of that verdict. */
export interface ProofWriter {
  /** For a verdict without a row in the history. @returns false if the node is not enrolled with this key */
  keep(moved: Moved, own: KeptBlob): Promise<boolean>;
  /** For a verdict without new evidence and without a row in the history. */
  move(moved: Moved): Promise<void>;
  /** For a verdict with a row in the history. @param left that row, if the evidence kept here moves there */
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

/** The key that is enrolled under this name: rows of a node count only while it is. */
export function keyEnrolledAs(db: Database['db'], name: RawBuilder<string>) {
  return db.selectFrom('nodes').select('ek_digest').where('name', '=', name).where('revoked_at', 'is', null);
}
