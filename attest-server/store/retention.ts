import type { Kysely, NotNull } from 'kysely';
import type { EvidenceStore } from '../evidence/ports.ts';
import type { Append } from './audit.ts';
import type { Tables } from './schema.ts';
import { hot } from './statements.ts';

/** The most rows of history that share one bundle: a verdict, the reboot before it, and the lapse after it. */
const neighbours = 3;

/** Erases evidence that is no longer needed. History and audit log stay, and record what was erased. */
export function retention(db: Kysely<Tables>, append: Append): EvidenceStore['erase'] {
  const erase = eraser(db);

  return ({ node, kind, before, limit, event }) =>
    db.transaction().execute(async (transaction) => {
      const done = await transaction
        .selectFrom('retention')
        .select('at')
        .where('node', '=', node)
        .where('kind', '=', kind)
        .executeTakeFirst();
      const rowsOf = () =>
        transaction
          .selectFrom('history')
          .select(['id', 'at', 'evidence_digest', 'transition', 'for_key'])
          .where('node', '=', node);
      const start = done?.at ?? -1;
      const rows = await rowsOf()
        .where('at', '>', start)
        .where('at', '<', before)
        .orderBy('at')
        .limit(limit)
        .execute();
      const last = rows.at(-1);
      if (last === undefined) return kind === 'all' && (await eraseLeft(transaction, node, before));
      const later = await rowsOf().where('at', '>', last.at).orderBy('at').limit(neighbours).execute();
      const earlier = await rowsOf()
        .where('at', '<=', start)
        .orderBy('at', 'desc')
        .limit(neighbours)
        .execute();
      const current = await transaction
        .selectFrom('statuses')
        .innerJoin('nodes', 'nodes.ek_digest', 'statuses.ek_digest')
        .innerJoin('proofs', 'proofs.ek_digest', 'statuses.ek_digest')
        .select('evidence_digest')
        .where('nodes.name', '=', node)
        .execute();
      const needed =
        kind === 'transitions'
          ? later
          : [...earlier, ...rows, ...later].filter((row) => row.transition === 1 || row.for_key === 1);
      const kept = new Set([...needed, ...current].map((row) => row.evidence_digest));
      const gone = rows.flatMap((row) => row.evidence_digest ?? []).filter((digest) => !kept.has(digest));
      const erased = await erase(transaction, new Set(gone), [...earlier, ...rows, ...later]);
      if (erased.length > 0) await append(transaction, event(erased));
      await transaction
        .insertInto('retention')
        .values({ node, kind, at: last.at })
        .onConflict((conflict) => conflict.columns(['node', 'kind']).doUpdateSet({ at: last.at }))
        .execute();
      return true;

      /** Erases the latest answers of machines that had this name, and are no longer nodes. */
      async function eraseLeft(transaction: Kysely<Tables>, node: string, before: number): Promise<boolean> {
        const gone = await latestEraser(transaction)
          .where('node', '=', node)
          .where('verified_at', '<', before)
          .where('ek_digest', 'not in', (from) => from.selectFrom('statuses').select('ek_digest'))
          .execute();
        if (gone.length > 0) await append(transaction, event(gone.map(({ digest }) => digest)));
        return gone.length > 0;
      }
    });
}

/** Erases the answers of these rows, and gives the digests that it found. */
function eraser(db: Kysely<Tables>) {
  const eraseAnswer = hot<{ id: number }>()((value) =>
    db.deleteFrom('answers').where('id', '=', value('id')).returning('id').compile(),
  );
  // As an earlier schema kept it.
  const eraseBlob = blobEraser(db);
  return async (
    transaction: Kysely<Tables>,
    digests: ReadonlySet<string>,
    rows: readonly { readonly id: number; readonly evidence_digest: string | null }[],
  ): Promise<readonly string[]> => {
    const found = new Set<string>();
    for (const { id, evidence_digest: digest } of rows) {
      if (digest === null || !digests.has(digest)) continue;
      const answers = await transaction.executeQuery(eraseAnswer({ id }));
      if (answers.rows.length > 0) found.add(digest);
    }
    for (const digest of digests) {
      const blobs = await transaction.executeQuery(eraseBlob({ digest }));
      if (blobs.rows.length > 0) found.add(digest);
    }
    return [...found];
  };
}

/** A query that erases the evidence of latest verdicts, once it selects nodes, and gives the digests. */
export function latestEraser(db: Kysely<Tables>) {
  return db
    .updateTable('proofs')
    .set({ bytes: null })
    .where('bytes', 'is not', null)
    .returning('evidence_digest as digest')
    .$narrowType<{ digest: NotNull }>();
}

/** A query that erases a shared blob, and gives its digest if it was there. */
export function blobEraser(db: Kysely<Tables>) {
  return hot<{ digest: string }>()((value) =>
    db.deleteFrom('evidence').where('digest', '=', value('digest')).returning('digest').compile(),
  );
}
