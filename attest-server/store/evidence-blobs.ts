import { hash } from 'node:crypto';
import type { Kysely } from 'kysely';
import { toBuffer } from './columns.ts';
import { hot } from './hot-query.ts';
import type { Tables } from './schema.ts';
import type { Store } from './store.ts';
import { parseRow } from './unreadable-row.ts';

/** Keeps a blob under its SHA-256. One that is there already is not written again. */
export type KeepEvidence = (
  transaction: Kysely<Tables>,
  blob: { readonly digest: string; readonly bytes: Buffer },
  at: number,
) => Promise<void>;

/** The function throws an Error where the digest is not that of the bytes: a fault of the caller. */
export function evidenceKeeper(db: Kysely<Tables>): KeepEvidence {
  const isThere = hot<{ digest: string }>()((value) =>
    db.selectFrom('evidence').select('digest').where('digest', '=', value('digest')).compile(),
  );
  const insert = hot<{ digest: string; bytes: Buffer; at: number }>()((value) =>
    db
      .insertInto('evidence')
      .values({ digest: value('digest'), bytes: value('bytes'), stored_at: value('at') })
      .compile(),
  );
  return async (transaction, { digest, bytes }, at) => {
    const actual = hash('sha256', bytes, 'hex');
    if (actual !== digest) throw new Error(`evidence named ${digest} has the digest ${actual}`);
    if ((await transaction.executeQuery(isThere({ digest }))).rows.length > 0) return;
    await transaction.executeQuery(insert({ digest, bytes, at }));
  };
}

export function evidenceBlobs(db: Kysely<Tables>): Pick<Store, 'evidence'> {
  return {
    /** @throws UnreadableRow where the bytes are no longer those of the digest */
    async evidence(digest) {
      const row = await db
        .selectFrom('evidence')
        .select('bytes')
        .where('digest', '=', digest)
        .executeTakeFirst();
      if (row === undefined) return null;
      return parseRow('evidence', digest, () => {
        const actual = hash('sha256', row.bytes, 'hex');
        if (actual !== digest) throw new Error(`its bytes have the digest ${actual}`);
        return toBuffer(row.bytes);
      });
    },
  };
}
