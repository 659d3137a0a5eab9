import { hash } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import type { Kysely } from 'kysely';
import { toBuffer } from './columns.ts';
import { hotWrite } from './hot-query.ts';
import type { Tables } from './schema.ts';
import type { Store } from './store.ts';
import { parseRow } from './unreadable-row.ts';

/** A blob that is named by its SHA-256, hex. */
interface Blob {
  readonly digest: string;
  readonly bytes: Buffer;
}

/**
 * Keeps blobs under their digests, inside a transaction; one that is there already is not written again. The function
 * throws an Error where the digest is not that of the bytes: a fault of the caller.
 */
export function evidenceWriter(db: Kysely<Tables>, database: DatabaseSync): (blob: Blob, at: number) => void {
  const insert = hotWrite<{ digest: string; bytes: Buffer; at: number }>(database)((value) =>
    db
      .insertInto('evidence')
      .values({ digest: value('digest'), bytes: value('bytes'), stored_at: value('at') })
      .onConflict((conflict) => conflict.column('digest').doNothing())
      .compile(),
  );
  // Policy and references come with every verdict, and are the same bytes each time.
  const checked = new WeakMap<Buffer, string>();
  return ({ digest, bytes }, at) => {
    const actual = checked.get(bytes) ?? hash('sha256', bytes, 'hex');
    checked.set(bytes, actual);
    if (actual !== digest) throw new Error(`evidence named ${digest} has the digest ${actual}`);
    insert({ digest, bytes, at });
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
