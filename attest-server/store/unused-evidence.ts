import { setImmediate } from 'node:timers/promises';
import { type Kysely, type NotNull, sql } from 'kysely';
import type { EvidenceStore, UnusedRequest } from '../evidence/ports.ts';
import type { Append } from './audit.ts';
import { toBuffer } from './columns.ts';
import { blobEraser } from './retention.ts';
import type { Tables } from './schema.ts';
import { hot } from './statements.ts';
import { parseParts, textsIn } from './status-row.ts';

/** Answers that are read at a time. */
const page = 500;
/** Blobs that one entry of the audit log names. */
const batch = 100;

/** The condition of the index `evidence_that_names`: to read all evidence may take longer than a day. */
export const isNaming = sql<boolean>`substr(bytes, 1, 6) = x'61737361792f'`;

/**
 * Erases logs, keys, values and policies that no kept evidence names any longer. Uses are noted at most once a day
 * (evidence-writer.ts), so only old answers can name a blob whose last note is old: those are read.
 */
export function unusedEvidence(db: Kysely<Tables>, append: Append): EvidenceStore['eraseUnused'] {
  const eraseBlob = blobEraser(db);
  const forget = hot<{ digest: string; before: number }>()((value) =>
    db
      .deleteFrom('evidence_uses')
      .where('digest', '=', value('digest'))
      .where('at', '<', value('before'))
      .returning('digest')
      .compile(),
  );

  async function spareNamed(
    candidates: Set<string>,
    { keptBefore, named, signal }: UnusedRequest,
  ): Promise<void> {
    const statuses = await db.selectFrom('statuses').select(['parts', 'trusted_by']).execute();
    for (const { parts, trusted_by: by } of statuses) {
      for (const digest of Object.values(parseParts(parts))) candidates.delete(digest);
      for (const digest of by === null ? [] : textsIn(by)) candidates.delete(digest);
    }
    await spareNamedByLatest(candidates, { keptBefore, named });
    for (let last = 0; candidates.size > 0 && !signal.aborted; ) {
      const rows = await db
        .selectFrom('answers')
        .selectAll()
        .where('id', '>', last)
        .orderBy('id')
        .limit(page)
        .execute();
      let isOld = false;
      for (const { id, bytes } of rows) {
        last = id;
        const answer = readable(named(toBuffer(bytes)), String(id));
        if (answer.at >= keptBefore) continue;
        isOld = true;
        for (const digest of answer.digests) candidates.delete(digest);
      }
      if (!isOld) return;
      await setImmediate();
    }
  }

  /** Spares blobs that the latest answers of long silent nodes name: those of other nodes were noted as used since. */
  async function spareNamedByLatest(
    candidates: Set<string>,
    { keptBefore, named }: Pick<UnusedRequest, 'keptBefore' | 'named'>,
  ): Promise<void> {
    for (let last = ''; ; ) {
      const rows = await db
        .selectFrom('proofs')
        .select(['ek_digest', 'node', 'bytes'])
        .where('ek_digest', '>', last)
        .where('verified_at', '<', keptBefore)
        .where('bytes', 'is not', null)
        .$narrowType<{ bytes: NotNull }>()
        .orderBy('ek_digest')
        .limit(page)
        .execute();
      for (const { node, bytes } of rows)
        for (const digest of readable(named(toBuffer(bytes)), `of ${node}`).digests)
          candidates.delete(digest);
      const end = rows.at(-1);
      if (end === undefined || rows.length < page) return;
      last = end.ek_digest;
      await setImmediate();
    }
  }

  /** Spares blobs that answers of an earlier schema name: it kept them in the same table, and noted no use of them. */
  async function spareNamedEarlier(candidates: Set<string>, { named }: UnusedRequest): Promise<void> {
    const digests = await db
      .selectFrom('evidence')
      .select('digest')
      .where('digest', 'not in', (from) => from.selectFrom('evidence_uses').select('digest'))
      .execute();
    for (const { digest } of digests) {
      const row = await db
        .selectFrom('evidence')
        .select('bytes')
        .where('digest', '=', digest)
        .executeTakeFirst();
      for (const name of row === undefined ? [] : (named(toBuffer(row.bytes))?.digests ?? []))
        candidates.delete(name);
      await setImmediate();
    }
  }

  /** Spares the members of a list that is itself kept. */
  async function spareListed(
    candidates: Set<string>,
    { head, named }: UnusedRequest['lists'][number],
  ): Promise<void> {
    const kept = await db
      .selectFrom('evidence')
      .select('digest')
      .where(isNaming)
      .where(sql<boolean>`substr(bytes, 1, ${head.length}) = ${head}`)
      .execute();
    for (const { digest } of kept) {
      if (candidates.has(digest)) continue;
      // One at a time: together they may be larger than memory.
      const row = await db
        .selectFrom('evidence')
        .select('bytes')
        .where('digest', '=', digest)
        .executeTakeFirst();
      for (const listed of row === undefined ? [] : named(toBuffer(row.bytes))) candidates.delete(listed);
      await setImmediate();
    }
  }

  return async (request) => {
    const { usedBefore, event, signal } = request;
    const unused = await db
      .selectFrom('evidence_uses')
      .select('digest')
      .where('at', '<', usedBefore)
      .execute();
    const candidates = new Set(unused.map(({ digest }) => digest));
    if (candidates.size === 0) return 0;
    await spareNamed(candidates, request);
    await spareNamedEarlier(candidates, request);
    for (const list of request.lists) await spareListed(candidates, list);
    const digests = [...candidates];
    let erased = 0;
    // Not after half of the answers were read.
    for (let at = 0; at < digests.length && !signal.aborted; at += batch) {
      const gone = await db.transaction().execute(async (transaction) => {
        const found: string[] = [];
        for (const digest of digests.slice(at, at + batch)) {
          // Used again since it was looked at: it stays.
          const uses = await transaction.executeQuery(forget({ digest, before: usedBefore }));
          if (uses.rows.length === 0) continue;
          const blobs = await transaction.executeQuery(eraseBlob({ digest }));
          if (blobs.rows.length > 0) found.push(digest);
        }
        if (found.length > 0) await append(transaction, event(found));
        return found.length;
      });
      erased += gone;
      await setImmediate();
    }
    return erased;
  };
}

type NamedByAnswer = NonNullable<ReturnType<UnusedRequest['named']>>;

/** @throws Error if the answer is null: the blobs that it names are not known */
function readable(answer: NamedByAnswer | null, which: string): NamedByAnswer {
  if (answer === null)
    throw new Error(`the kept answer ${which} cannot be read: nothing that it names is erased`);
  return answer;
}
