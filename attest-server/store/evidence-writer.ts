import { hash } from 'node:crypto';
import { sql } from 'kysely';
import type { KeptBlob } from '../attest/ports.ts';
import { initrdListHead, parseInitrdList } from '../wire/initrd-list.ts';
import { fileListHead, parseFileList } from '../wire/loader-files.ts';
import { Rejection } from '../wire/rejection.ts';
import type { Database } from './database.ts';

/** Writes evidence inside a transaction. Each throws an Error where a digest is not that of the bytes: a caller's fault. */
export interface EvidenceWriter {
  /**
   * Keeps a blob under its digest, and notes that it is used; one that is there already is not written again.
   * @param ekDigest whose share it counts in, unless it is the server's own
   */
  share(blob: KeptBlob, ekDigest: string, at: number): Promise<void>;
  /** Notes that an answer of this node names a blob that is there. */
  use(digest: string, ekDigest: string, at: number): Promise<void>;
  /** Keeps what one verdict was made from. @param id of the verdict's row in the history */
  keep(blob: KeptBlob, id: number): Promise<void>;
  /** Keeps what a verdict was made from that has no row, in the place of the one before. */
  keepLatest(blob: KeptBlob, of: { ekDigest: string; node: string; at: number }): Promise<void>;
  /** A row of the history follows the latest such verdict. @param named that verdict's evidence, where the row rests on it */
  endLatest(ekDigest: string, named: { readonly digest: string; readonly row: number } | null): Promise<void>;
  /** To be called after each transaction. */
  ended(committed: boolean): void;
  /** This node names these no longer, and they may be erased: nothing is known of them any more. */
  forget(digests: Iterable<string>, ekDigest: string): void;
}

/** A use is noted once in this time, and not with every answer. Who erases what is unused must leave it more. */
const noteEvery = 86_400_000;
/** How many digests of shared blobs are remembered as written: a fleet's keys, PCR values and boot logs, and who names them. */
const most = 131_072;
/** What a row takes beside its bytes, and what long bytes leave empty of their last page. */
const rowBytes = 512;
const pageBytes = 4096;

export function evidenceWriter({ db, prepare }: Database): EvidenceWriter {
  const insertShared = prepare<{ digest: string; bytes: Buffer; at: number }>()((value) =>
    db
      .insertInto('evidence')
      .values({ digest: value('digest'), bytes: value('bytes'), stored_at: value('at'), counted: 1 })
      .onConflict((conflict) => conflict.column('digest').doNothing())
      .compile(),
  );
  // Attack: a node that sends the text of the policy as a part of its own, so that it is erased with what the node holds.
  const insertOfServer = prepare<{ digest: string; bytes: Buffer; at: number }>()((value) =>
    db
      .insertInto('evidence')
      .values({ digest: value('digest'), bytes: value('bytes'), stored_at: value('at'), counted: 0 })
      .onConflict((conflict) => conflict.column('digest').doUpdateSet({ counted: 0 }))
      .compile(),
  );
  const hold = prepare<{ ek_digest: string; digest: string }>()((value) =>
    db
      .insertInto('held_blobs')
      .columns(['ek_digest', 'digest', 'bytes'])
      .expression(
        db
          .selectFrom('evidence')
          .select([
            value('ek_digest').as('ek_digest'),
            'digest',
            sql<number>`length(bytes) + ${sql.lit(rowBytes)} + case when length(bytes) < ${sql.lit(pageBytes / 2)} then 0 else ${sql.lit(pageBytes)} end`.as(
              'bytes',
            ),
          ])
          .where('digest', '=', value('digest')),
      )
      // Gives a row also where it is held already; none where there is no such blob.
      .onConflict((conflict) =>
        conflict.columns(['ek_digest', 'digest']).doUpdateSet((is) => ({ bytes: is.ref('excluded.bytes') })),
      )
      .returning('digest')
      .compile(),
  );
  const heldOf = sql<number>`length(bytes) + ${sql.lit(rowBytes)}`;
  const insertAnswer = prepare<{ id: number; bytes: Buffer; held: number }>()((value) =>
    db
      .insertInto('answers')
      .values({ id: value('id'), bytes: value('bytes'), held: value('held') })
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
      .columns(['id', 'bytes', 'held'])
      .expression(
        db
          .selectFrom('latest_answers')
          .select([value('id').as('id'), 'bytes', heldOf.as('held')])
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
  const write = async (blob: KeptBlob, insert: typeof insertShared, key: string, at: number) => {
    if (isNoted(key, at)) return;
    const { digest } = blob;
    await insert({ digest, bytes: checked(blob), at });
    await noteUse({ digest, at });
    written.set(key, at);
  };
  const count = async (digest: string, ekDigest: string, at: number) => {
    const key = heldKey(digest, ekDigest);
    if (isNoted(key, at)) return;
    // One that is named before it is there counts when it comes.
    const isHeld = (await hold({ ek_digest: ekDigest, digest })) !== undefined;
    if (isHeld) written.set(key, at);
  };
  return {
    async share(blob, ekDigest, at) {
      const { digest } = blob;
      if (blob.isOfServer === true) return write(blob, insertOfServer, `of the server ${digest}`, at);
      await write(blob, insertShared, digest, at);
      if (isNoted(heldKey(digest, ekDigest), at)) return;
      await count(digest, ekDigest, at);
      // Attack: a list of what other nodes sent, so that it stays for a node in whose share it does not count.
      for (const listed of listedIn(blob.bytes)) await count(listed, ekDigest, at);
    },
    async use(digest, ekDigest, at) {
      await count(digest, ekDigest, at);
      // Under a key of its own: that one is named does not say that it is there.
      const key = `used ${digest}`;
      if (isNoted(digest, at) || isNoted(key, at)) return;
      await noteUse({ digest, at });
      written.set(key, at);
    },
    async keep(blob, id) {
      const bytes = checked(blob);
      await insertAnswer({ id, bytes, held: bytes.length + rowBytes });
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
    forget(digests, ekDigest) {
      // Also in `written`: of a transaction that is committed, and has not said so.
      for (const noted of [committed, written])
        for (const digest of digests)
          for (const key of [digest, `used ${digest}`, heldKey(digest, ekDigest)]) noted.delete(key);
    },
  };
}

/** Pieces of IMA's list count when they come: nobody names those of another node. */
function listedIn(bytes: Buffer): readonly string[] {
  const begins = (head: string) => bytes.subarray(0, head.length).equals(Buffer.from(head));
  try {
    if (begins(fileListHead)) return parseFileList(bytes);
    return begins(initrdListHead) ? parseInitrdList(bytes) : [];
  } catch (error) {
    // A file of a loader that begins like a list.
    if (error instanceof Rejection) return [];
    throw error;
  }
}

function heldKey(digest: string, ekDigest: string): string {
  return `${ekDigest} ${digest}`;
}

/** Its bytes, asked for once: some callers make them anew each time. */
function checked({ digest, bytes }: KeptBlob): Buffer {
  const actual = hash('sha256', bytes, 'hex');
  if (actual !== digest) throw new Error(`evidence named ${digest} has the digest ${actual}`);
  return bytes;
}
