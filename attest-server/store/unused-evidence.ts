import { setImmediate } from 'node:timers/promises';
import type { Kysely } from 'kysely';
import type { Append } from './audit-log.ts';
import { toBuffer } from './columns.ts';
import { blobEraser } from './evidence-blobs.ts';
import { hot } from './hot-query.ts';
import type { Tables } from './schema.ts';
import type { Store, UnusedRequest } from './store.ts';

/** Answers that are read at a time. */
const page = 500;
/** Blobs that one entry of the audit log names. */
const batch = 100;

/**
 * Takes away logs, keys, values and policies that no kept evidence names any longer. That one was used is noted at most
 * once a day (evidence-blobs.ts), so that what is old by that note can be named by old answers only: those are read.
 */
export function unusedEvidence(db: Kysely<Tables>, append: Append): Pick<Store, 'eraseUnused'> {
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
    const statuses = await db.selectFrom('statuses').select('boot_log_digest').execute();
    for (const { boot_log_digest: digest } of statuses) if (digest !== null) candidates.delete(digest);
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
        const answer = named(toBuffer(bytes));
        if (answer === null)
          throw new Error(`the kept answer ${id} cannot be read: nothing that it names is erased`);
        if (answer.at >= keptBefore) continue;
        isOld = true;
        for (const digest of answer.digests) candidates.delete(digest);
      }
      if (!isOld) return;
      await setImmediate();
    }
  }

  /** Answers as an earlier schema kept them: beside what they name, and never noted as used. */
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

  return {
    async eraseUnused(request) {
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
    },
  };
}
