import { hash } from 'node:crypto';
import { sql } from 'kysely';
import type { KeptBlob, Moved } from '../attest/ports.ts';
import { initrdListHead, parseInitrdList } from '../wire/initrd-list.ts';
import { fileListHead, parseFileList } from '../wire/loader-files.ts';
import { Rejection } from '../wire/rejection.ts';
import type { Database } from './database.ts';

/** Writes evidence within a transaction. Each method throws an Error if a digest does not match: a fault of the caller. */
export interface EvidenceWriter {
  /**
   * Stores a blob under its digest, unless it is there already, and notes its use.
   * @param ekDigest the node in whose share it counts, unless it is the server's own
   */
  share(blob: KeptBlob, ekDigest: string, at: number): Promise<void>;
  /** Notes that an answer of this node names these blobs, if they are stored. */
  use(parts: Moved['parts'], ekDigest: string, at: number): Promise<void>;
  /** Stores the answer behind one verdict. @param id of the verdict's row in the history */
  keep(blob: KeptBlob, id: number): Promise<void>;
  /** Must be called after each transaction. */
  ended(committed: boolean): void;
  /** Forgets what is cached about these digests: this node no longer names them, and they may be erased. */
  forget(digests: Iterable<string>, ekDigest: string): void;
}

/** A use is noted once in so many milliseconds, not with every answer. Unused evidence must be kept for longer. */
const noteEvery = 86_400_000;
/** How many notes are cached: the keys, PCR values and boot logs of a fleet, and the nodes that name them. */
const most = 131_072;
/** Bytes that a row takes beside its content; a long one also leaves part of its last page empty. */
export const rowBytes = 512;
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
  const insertAnswer = prepare<{ id: number; bytes: Buffer; held: number }>()((value) =>
    db
      .insertInto('answers')
      .values({ id: value('id'), bytes: value('bytes'), held: value('held') })
      .compile(),
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
  /**
   * Parts whose use is noted and committed, until when. A node's answers share one object until a part changes, so most
   * need no lookup, and the entry ends with the node.
   */
  let used = new WeakMap<Moved['parts'], { readonly ekDigest: string; readonly until: number }>();
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
    async use(parts, ekDigest, at) {
      const before = used.get(parts);
      if (before?.ekDigest === ekDigest && at < before.until) return;
      let until = Number.POSITIVE_INFINITY;
      for (const digest of Object.values(parts)) {
        await count(digest, ekDigest, at);
        // Under a key of its own: that one is named does not say that it is there.
        const key = `used ${digest}`;
        if (!isNoted(digest, at) && !isNoted(key, at)) {
          await noteUse({ digest, at });
          written.set(key, at);
        }
        const heldAt = committed.get(heldKey(digest, ekDigest)) ?? Number.NEGATIVE_INFINITY;
        const usedAt = committed.get(digest) ?? committed.get(key) ?? Number.NEGATIVE_INFINITY;
        until = Math.min(until, heldAt + noteEvery, usedAt + noteEvery);
      }
      if (at < until) used.set(parts, { ekDigest, until });
    },
    async keep(blob, id) {
      const bytes = checked(blob);
      await insertAnswer({ id, bytes, held: bytes.length + rowBytes });
    },
    ended(success) {
      if (written.size === 0) return;
      if (committed.size > most) committed.clear();
      if (success) for (const [digest, at] of written) committed.set(digest, at);
      written.clear();
    },
    forget(digests, ekDigest) {
      used = new WeakMap();
      // Also in `written`: of a transaction that is committed, and has not said so.
      for (const noted of [committed, written])
        for (const digest of digests)
          for (const key of [digest, `used ${digest}`, heldKey(digest, ekDigest)]) noted.delete(key);
    },
  };
}

/** Digests in a list of files or initrds. Pieces of IMA's list count on arrival: no other node can name them. */
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

/** The bytes of a blob, read once, as some callers make them on each read. @throws Error if the digest does not match */
export function checked({ digest, bytes }: KeptBlob): Buffer {
  const actual = hash('sha256', bytes, 'hex');
  if (actual !== digest) throw new Error(`evidence named ${digest} has the digest ${actual}`);
  return bytes;
}
