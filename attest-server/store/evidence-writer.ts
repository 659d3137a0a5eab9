import { hash } from 'node:crypto';
import type { KeptBlob } from '../attest/ports.ts';
import type { Database } from './database.ts';

/** Writes evidence inside a transaction. Each throws an Error where a digest is not that of the bytes: a caller's fault. */
export interface EvidenceWriter {
  /** Keeps a blob under its digest, and notes that it is used; one that is there already is not written again. */
  share(blob: KeptBlob, at: number): Promise<void>;
  /** Notes that an answer names a blob that is there. */
  use(digest: string, at: number): Promise<void>;
  /** Keeps what one verdict was made from. @param id of the verdict's row in the history */
  keep(blob: KeptBlob, id: number): Promise<void>;
  /** Keeps what a verdict was made from that has no row, in the place of the one before. */
  keepLatest(blob: KeptBlob, of: { ekDigest: string; node: string; at: number }): Promise<void>;
  /** A row of the history follows the latest such verdict. @param named that verdict's evidence, where the row rests on it */
  endLatest(ekDigest: string, named: { readonly digest: string; readonly row: number } | null): Promise<void>;
  /** To be called after each transaction. */
  ended(committed: boolean): void;
}

/** A use is noted once in this time, and not with every answer. Who erases what is unused must leave it more. */
const noteEvery = 86_400_000;
/** How many digests of shared blobs are remembered as written: a fleet's keys, PCR values and boot logs. */
const most = 32_768;

export function evidenceWriter({ db, prepare }: Database): EvidenceWriter {
  const insertShared = prepare<{ digest: string; bytes: Buffer; at: number }>()((value) =>
    db
      .insertInto('evidence')
      .values({ digest: value('digest'), bytes: value('bytes'), stored_at: value('at') })
      .onConflict((conflict) => conflict.column('digest').doNothing())
      .compile(),
  );
  const insertAnswer = prepare<{ id: number; bytes: Buffer }>()((value) =>
    db
      .insertInto('answers')
      .values({ id: value('id'), bytes: value('bytes') })
      .compile(),
  );
  const replaceLatest = prepare<{
    ek_digest: string;
    node: string;
    at: number;
    digest: string;
    bytes: Buffer;
  }>()((value) => {
    const rest = {
      node: value('node'),
      at: value('at'),
      digest: value('digest'),
      bytes: value('bytes'),
    };
    return db
      .insertInto('latest_answers')
      .values({ ek_digest: value('ek_digest'), ...rest })
      .onConflict((conflict) => conflict.column('ek_digest').doUpdateSet(rest))
      .compile();
  });
  const moveLatest = prepare<{ id: number; ek_digest: string; digest: string }>()((value) =>
    db
      .insertInto('answers')
      .columns(['id', 'bytes'])
      .expression(
        db
          .selectFrom('latest_answers')
          .select([value('id').as('id'), 'bytes'])
          .where('ek_digest', '=', value('ek_digest'))
          .where('digest', '=', value('digest')),
      )
      .compile(),
  );
  const dropLatest = prepare<{ ek_digest: string }>()((value) =>
    db.deleteFrom('latest_answers').where('ek_digest', '=', value('ek_digest')).compile(),
  );
  const noteUse = prepare<{ digest: string; at: number }>()((value) =>
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
    async share(blob, at) {
      const { digest } = blob;
      if (isNoted(digest, at)) return;
      await insertShared({ digest, bytes: checked(blob), at });
      await noteUse({ digest, at });
      written.set(digest, at);
    },
    async use(digest, at) {
      // Under a key of its own: that one is named does not say that it is there.
      const key = `used ${digest}`;
      if (isNoted(digest, at) || isNoted(key, at)) return;
      await noteUse({ digest, at });
      written.set(key, at);
    },
    async keep(blob, id) {
      await insertAnswer({ id, bytes: checked(blob) });
    },
    async keepLatest(blob, { ekDigest, node, at }) {
      const bytes = checked(blob);
      await replaceLatest({ ek_digest: ekDigest, node, at, digest: blob.digest, bytes });
    },
    async endLatest(ekDigest, named) {
      if (named !== null) await moveLatest({ id: named.row, ek_digest: ekDigest, digest: named.digest });
      await dropLatest({ ek_digest: ekDigest });
    },
    ended(success) {
      if (written.size === 0) return;
      if (committed.size > most) committed.clear();
      if (success) for (const [digest, at] of written) committed.set(digest, at);
      written.clear();
    },
  };
}

/** Its bytes, asked for once: some callers make them anew each time. */
function checked({ digest, bytes }: KeptBlob): Buffer {
  const actual = hash('sha256', bytes, 'hex');
  if (actual !== digest) throw new Error(`evidence named ${digest} has the digest ${actual}`);
  return bytes;
}
