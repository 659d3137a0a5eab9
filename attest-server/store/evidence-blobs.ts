import { hash } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import { setImmediate } from 'node:timers/promises';
import type { Kysely } from 'kysely';
import { toBuffer } from './columns.ts';
import { hot, hotWrite } from './hot-query.ts';
import type { Tables } from './schema.ts';
import type { Store } from './store.ts';
import { parseRow } from './unreadable-row.ts';

/** A blob that is named by its SHA-256, hex. */
interface Blob {
  readonly digest: string;
  readonly bytes: Buffer;
}

/** Writes evidence inside a transaction. Both throw an Error where the digest is not that of the bytes: a caller's fault. */
export interface EvidenceWriter {
  /** Keeps a blob under its digest, and notes that it is used; one that is there already is not written again. */
  share(blob: Blob, at: number): void;
  /** Notes that an answer names a blob that is there. */
  use(digest: string, at: number): void;
  /** Keeps what one verdict was made from. @param id of the verdict's row in the history */
  keep(blob: Blob, id: number): void;
  /** To be called after each transaction. */
  ended(committed: boolean): void;
}

/** A use is noted once in this time, and not with every answer. Who erases what is unused must leave it more. */
const noteEvery = 86_400_000;
/** How many digests of shared blobs are remembered as written: a fleet's keys, PCR values and boot logs. */
const most = 32_768;

export function evidenceWriter(db: Kysely<Tables>, database: DatabaseSync): EvidenceWriter {
  const insertShared = hotWrite<{ digest: string; bytes: Buffer; at: number }>(database)((value) =>
    db
      .insertInto('evidence')
      .values({ digest: value('digest'), bytes: value('bytes'), stored_at: value('at') })
      .onConflict((conflict) => conflict.column('digest').doNothing())
      .compile(),
  );
  const insertAnswer = hotWrite<{ id: number; bytes: Buffer }>(database)((value) =>
    db
      .insertInto('answers')
      .values({ id: value('id'), bytes: value('bytes') })
      .compile(),
  );
  const noteUse = hotWrite<{ digest: string; at: number }>(database)((value) =>
    db
      .insertInto('evidence_uses')
      .values({ digest: value('digest'), at: value('at') })
      .onConflict((conflict) => conflict.column('digest').doUpdateSet({ at: value('at') }))
      .compile(),
  );
  const committed = new Map<string, number>();
  const written = new Map<string, number>();
  const isNoted = (digest: string, at: number) =>
    at < (committed.get(digest) ?? written.get(digest) ?? Number.NEGATIVE_INFINITY) + noteEvery;
  return {
    share(blob, at) {
      const { digest } = blob;
      if (isNoted(digest, at)) return;
      // Asked for once: some callers make them anew each time.
      const { bytes } = blob;
      check({ digest, bytes });
      insertShared({ digest, bytes, at });
      noteUse({ digest, at });
      written.set(digest, at);
    },
    use(digest, at) {
      // Under a key of its own: that one is named does not say that it is there.
      const key = `used ${digest}`;
      if (isNoted(digest, at) || isNoted(key, at)) return;
      noteUse({ digest, at });
      written.set(key, at);
    },
    keep(blob, id) {
      check(blob);
      insertAnswer({ id, bytes: blob.bytes });
    },
    ended(success) {
      if (written.size === 0) return;
      if (committed.size > most) committed.clear();
      if (success) for (const [digest, at] of written) committed.set(digest, at);
      written.clear();
    },
  };
}

function check({ digest, bytes }: Blob): void {
  const actual = hash('sha256', bytes, 'hex');
  if (actual !== digest) throw new Error(`evidence named ${digest} has the digest ${actual}`);
}

/** The query erases a shared blob, and gives its digest where it was there. */
export function blobEraser(db: Kysely<Tables>) {
  return hot<{ digest: string }>()((value) =>
    db.deleteFrom('evidence').where('digest', '=', value('digest')).returning('digest').compile(),
  );
}

/** Rows of history that are looked through at a time. */
const page = 500;

export function evidenceBlobs(db: Kysely<Tables>): Pick<Store, 'evidence'> {
  const shared = hot<{ digest: string }>()((value) =>
    db.selectFrom('evidence').select('bytes').where('digest', '=', value('digest')).compile(),
  );

  /** The latest verdict is found at once; before others come in between, since a node may have many. */
  async function own(digest: string, node: string) {
    for (let end = Number.MAX_SAFE_INTEGER; ; ) {
      const rows = await db
        .selectFrom('history')
        .select(['id', 'at', 'evidence_digest'])
        .where('node', '=', node)
        .where('at', '<', end)
        .orderBy('at', 'desc')
        .limit(page)
        .execute();
      const ids = rows.flatMap(({ id, evidence_digest }) => (evidence_digest === digest ? [id] : []));
      if (ids.length > 0) {
        const answers = db.selectFrom('answers').select('bytes').where('id', 'in', ids);
        const found = await answers.executeTakeFirst();
        if (found !== undefined) return found;
      }
      const last = rows.at(-1);
      if (last === undefined || rows.length < page) return undefined;
      end = last.at;
      await setImmediate();
    }
  }

  return {
    /** @throws UnreadableRow where the bytes are no longer those of the digest */
    async evidence(digest, node) {
      const [blob] = (await db.executeQuery(shared({ digest }))).rows;
      const row = blob ?? (node === undefined ? undefined : await own(digest, node));
      if (row === undefined) return null;
      return parseRow('evidence', digest, () => {
        const actual = hash('sha256', row.bytes, 'hex');
        if (actual !== digest) throw new Error(`its bytes have the digest ${actual}`);
        return toBuffer(row.bytes);
      });
    },
  };
}
