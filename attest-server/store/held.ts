import { setImmediate } from 'node:timers/promises';
import { sql } from 'kysely';
import type { EvidenceStore, GivingWay, HeldEvidence } from '../evidence/ports.ts';
import type { Append } from './audit.ts';
import { toBuffer } from './columns.ts';
import type { Database } from './database.ts';
import { blobEraser, latestEraser } from './retention.ts';
import { hot } from './statements.ts';
import { parseParts } from './status-row.ts';
import { isNaming } from './unused-evidence.ts';
import type { VerdictWriter } from './verdict-writer.ts';

/** Rows of history that are read at a time. */
const page = 200;
/** How many digests one audit entry names, and how many bytes are erased at once, since others wait meanwhile. */
const batch = 100;
const batchBytes = 8 * 1024 * 1024;

interface HeldAnswer {
  readonly id: number;
  readonly digest: string;
  readonly held: number;
  /** The digests that it names, as far as they count in the node's share. */
  readonly names: readonly string[];
}

/** Evidence to erase: answers, and the shared blobs, with their sizes, that the node then no longer names. */
interface Surplus {
  readonly answers: readonly HeldAnswer[];
  readonly blobs: ReadonlyMap<string, number>;
  readonly bytes: number;
}

/**
 * The evidence kept of one node: its size, and the choice of what to erase. Rows of history and audit log do not count,
 * as nobody can erase them, and in the end no answer would be accepted. They have a bound of their own.
 */
export function heldByNode(
  { db, prepare }: Database,
  append: Append,
  { settledOf, forget }: Pick<VerdictWriter, 'settledOf' | 'forget'>,
): Pick<EvidenceStore, 'held' | 'settledOf' | 'giveWay' | 'eraseHeld'> {
  // Asked with each answer.
  const sums = prepare<{ ek_digest: string }>()((value) =>
    db
      .selectFrom('nodes')
      .leftJoin('held', 'held.ek_digest', 'nodes.ek_digest')
      .leftJoin('proofs', 'proofs.ek_digest', 'nodes.ek_digest')
      .select(sql<number>`coalesce(blobs + answers, 0) + coalesce(length(proofs.bytes), 0)`.as('bytes'))
      .where('nodes.ek_digest', '=', value('ek_digest'))
      .compile(),
  );
  const eraseAnswer = hot<{ id: number }>()((value) =>
    db.deleteFrom('answers').where('id', '=', value('id')).returning('id').compile(),
  );
  const giveBack = hot<{ ek_digest: string; digest: string }>()((value) =>
    db
      .deleteFrom('held_blobs')
      .where('ek_digest', '=', value('ek_digest'))
      .where('digest', '=', value('digest'))
      .compile(),
  );
  const unheld = hot<{ digest: string }>()((value) =>
    db
      .selectFrom('evidence')
      .select('digest')
      .where('digest', '=', value('digest'))
      .where('counted', '=', 1)
      .where('digest', 'not in', (from) =>
        from.selectFrom('held_blobs').select('digest').where('digest', '=', value('digest')),
      )
      .compile(),
  );
  const eraseBlob = blobEraser(db);

  /** The shared blobs of the node with their sizes, and the members of the lists among them. */
  async function blobsOf({ ekDigest, lists }: HeldEvidence) {
    const rows = await db
      .selectFrom('held_blobs')
      .select(['digest', 'bytes'])
      .where('ek_digest', '=', ekDigest)
      .execute();
    const bytes = new Map(rows.map((row) => [row.digest, row.bytes]));
    const listed = await db
      .selectFrom('evidence')
      .select('digest')
      .where(isNaming)
      .where('digest', 'in', (from) =>
        from.selectFrom('held_blobs').select('digest').where('ek_digest', '=', ekDigest),
      )
      .execute();
    const members = new Map<string, readonly string[]>();
    for (const { digest } of listed) {
      const found = await db
        .selectFrom('evidence')
        .select('bytes')
        .where('digest', '=', digest)
        .executeTakeFirst();
      const blob = toBuffer(found?.bytes ?? Buffer.alloc(0));
      const list = lists.find(({ head }) => blob.subarray(0, head.length).equals(head));
      if (list !== undefined)
        members.set(
          digest,
          list.named(blob).filter((each) => bytes.has(each)),
        );
      await setImmediate();
    }
    return { bytes, members };
  }

  /** Rows of the history under all names of the node, latest first for each name. */
  async function* rowsOf({ node, ekDigest }: HeldEvidence) {
    const former = await db
      .selectFrom('former_names')
      .select('name')
      .where('ek_digest', '=', ekDigest)
      .execute();
    for (const name of new Set([node, ...former.map((row) => row.name)])) yield* rowsUnder(name, ekDigest);
  }

  async function* rowsUnder(node: string, ekDigest: string) {
    for (let end = Number.MAX_SAFE_INTEGER; ; ) {
      const rows = await db
        .selectFrom('history')
        .leftJoin('answers', 'answers.id', 'history.id')
        .select(['history.id', 'at', 'evidence_digest', 'ek_digest', 'answers.bytes', 'answers.held'])
        .select(sql<number>`transition = 1 and verdict like '{"state":"untrusted"%'`.as('became_untrusted'))
        .where('node', '=', node)
        .where('at', '<', end)
        .orderBy('at', 'desc')
        .limit(page)
        .execute();
      yield rows.filter((row) => row.ek_digest === ekDigest);
      const last = rows.at(-1);
      if (last === undefined || rows.length < page) return;
      end = last.at;
      await setImmediate();
    }
  }

  /** Chooses first the blobs that nothing names any longer, then answers, latest first. */
  async function surplusOf(request: GivingWay): Promise<Surplus> {
    const { ekDigest, named, free } = request;
    const { bytes, members } = await blobsOf(request);
    const namesOf = (blob: Uint8Array) =>
      [...new Set(named(toBuffer(blob))?.digests ?? [])].filter((digest) => bytes.has(digest));
    const [status, own] = await Promise.all([
      db
        .selectFrom('statuses')
        .select(['parts', 'recorded_evidence'])
        .where('ek_digest', '=', ekDigest)
        .executeTakeFirst(),
      db
        .selectFrom('proofs')
        .select(['evidence_digest', 'bytes'])
        .where('ek_digest', '=', ekDigest)
        .executeTakeFirst(),
    ]);
    // What must stay: the verdict of now rests on it, or the node became untrusted by it. What a key is released by comes here.
    const staying = new Set([own?.evidence_digest, status?.recorded_evidence]);
    const answers: HeldAnswer[] = [];
    for await (const rows of rowsOf(request))
      for (const row of rows) {
        if (row.became_untrusted === 1) staying.add(row.evidence_digest);
        if (row.bytes === null || row.evidence_digest === null) continue;
        answers.push({
          id: row.id,
          digest: row.evidence_digest,
          held: row.held ?? 0,
          names: namesOf(row.bytes),
        });
      }

    const uses = new Map<string, number>();
    const use = (digests: readonly string[]): void => {
      for (const digest of digests) {
        const before = uses.get(digest) ?? 0;
        uses.set(digest, before + 1);
        if (before === 0) use(members.get(digest) ?? []);
      }
    };
    const blobs = new Map<string, number>();
    let freed = 0;
    const giveUp = (digest: string): void => {
      const size = bytes.get(digest) ?? 0;
      blobs.set(digest, size);
      freed += size;
    };
    const leave = (digests: readonly string[]): void => {
      for (const digest of digests) {
        const left = (uses.get(digest) ?? 0) - 1;
        uses.set(digest, left);
        if (left > 0) continue;
        giveUp(digest);
        leave(members.get(digest) ?? []);
      }
    };
    use([...partsIn(status?.parts), ...request.naming].filter((digest) => bytes.has(digest)));
    if (own?.bytes) use(namesOf(own.bytes));
    for (const { names } of answers) use(names);
    for (const digest of bytes.keys()) if (!uses.has(digest)) giveUp(digest);
    const gone: HeldAnswer[] = [];
    // By their order, as the clock may have been set.
    answers.sort((one, other) => other.id - one.id);
    for (const answer of answers) {
      if (freed >= free) break;
      if (staying.has(answer.digest)) continue;
      gone.push(answer);
      freed += answer.held;
      leave(answer.names);
    }
    return { answers: gone, blobs, bytes: freed };
  }

  async function erase(
    { answers, blobs }: Surplus,
    { ekDigest, event }: HeldEvidence,
  ): Promise<ReadonlySet<string>> {
    const erased = new Set<string>();
    for (let at = 0; at < answers.length; at += batch) {
      await db.transaction().execute(async (transaction) => {
        const found: string[] = [];
        for (const { id, digest } of answers.slice(at, at + batch))
          if ((await transaction.executeQuery(eraseAnswer({ id }))).rows.length > 0) found.push(digest);
        if (found.length > 0) await append(transaction, event(found));
      });
      await setImmediate();
    }
    for (const some of inBatches(blobs)) {
      await db.transaction().execute(async (transaction) => {
        const found: string[] = [];
        forget(some, ekDigest);
        for (const digest of some) {
          await transaction.executeQuery(giveBack({ ek_digest: ekDigest, digest }));
          if ((await transaction.executeQuery(unheld({ digest }))).rows.length === 0) continue;
          await transaction.executeQuery(eraseBlob({ digest }));
          await transaction.deleteFrom('evidence_uses').where('digest', '=', digest).execute();
          await transaction.deleteFrom('initrds').where('manifest', '=', digest).execute();
          found.push(digest);
        }
        if (found.length > 0) await append(transaction, event(found));
        for (const digest of found) erased.add(digest);
      });
      await setImmediate();
    }
    return erased;
  }

  return {
    held: async (ekDigest) => (await sums({ ek_digest: ekDigest }))?.bytes ?? 0,

    settledOf,

    async giveWay(request) {
      const surplus = await surplusOf(request);
      if (surplus.bytes < request.least) return [];
      return [...(await erase(surplus, request))];
    },

    async eraseHeld(request) {
      const { ekDigest, event } = request;
      const answers: HeldAnswer[] = [];
      for await (const rows of rowsOf(request))
        for (const { id, bytes, evidence_digest: digest } of rows)
          if (bytes !== null && digest !== null) answers.push({ id, digest, held: 0, names: [] });
      const { bytes } = await blobsOf({ ...request, lists: [] });
      await db.transaction().execute(async (transaction) => {
        const own = await latestEraser(transaction).where('ek_digest', '=', ekDigest).execute();
        if (own.length > 0) await append(transaction, event(own.map(({ digest }) => digest)));
      });
      return [...(await erase({ answers, blobs: bytes, bytes: 0 }, request))];
    },
  };
}

function* inBatches(blobs: ReadonlyMap<string, number>): Generator<readonly string[]> {
  let some: string[] = [];
  let size = 0;
  for (const [digest, bytes] of blobs) {
    some.push(digest);
    size += bytes;
    if (some.length < batch && size < batchBytes) continue;
    yield some;
    some = [];
    size = 0;
  }
  if (some.length > 0) yield some;
}

function partsIn(parts: string | undefined): readonly string[] {
  return parts === undefined ? [] : Object.values(parseParts(parts));
}
