import type { Kysely } from 'kysely';
import { Rejection } from '../protocol/rejection.ts';
import type { Append } from './audit-log.ts';
import type { KeepEvidence } from './evidence-blobs.ts';
import { hot } from './hot-query.ts';
import type { Tables } from './schema.ts';
import { type NamedStatusRow, statusOf, statusRow, statusValues } from './status-row.ts';
import type { HistoryEntry, Store } from './store.ts';
import { parseVerdict } from './stored-verdict.ts';
import { type OnUnreadable, parseRow, parseRows } from './unreadable-row.ts';

/** What is known of each node now, and what was before. */
export function verdictRecords(
  db: Kysely<Tables>,
  append: Append,
  keepEvidence: KeepEvidence,
  onUnreadable: OnUnreadable,
): Pick<Store, 'status' | 'statuses' | 'recordVerdict' | 'history'> {
  const named = db
    .selectFrom('statuses')
    .innerJoin('nodes', 'nodes.ek_digest', 'statuses.ek_digest')
    .selectAll('statuses')
    .select('nodes.name');
  const byName = hot<{ name: string }>()((value) => named.where('nodes.name', '=', value('name')).compile());
  const everyone = hot()(() => named.orderBy('nodes.name').compile());
  const isEnrolled = hot<{ ekDigest: string; name: string }>()((value) =>
    db
      .selectFrom('nodes')
      .select('name')
      .where('ek_digest', '=', value('ekDigest'))
      .where('name', '=', value('name'))
      .where('revoked_at', 'is', null)
      .compile(),
  );
  const upsert = hot<ReturnType<typeof statusRow>>()((value) => {
    const values = statusValues(value);
    return db
      .insertInto('statuses')
      .values({ ...values, ek_digest: value('ek_digest') })
      .onConflict((conflict) => conflict.column('ek_digest').doUpdateSet(values))
      .compile();
  });
  const insertHistory = historyInserter(db);

  return {
    async status(name) {
      const [row] = (await db.executeQuery(byName({ name }))).rows;
      return row === undefined ? null : statusOf(row);
    },

    async statuses() {
      const { rows } = await db.executeQuery(everyone({}));
      return parseRows<NamedStatusRow, ReturnType<typeof statusOf>>(rows, statusOf, onUnreadable);
    },

    recordVerdict: ({ status, at, evidence, history, audit }) =>
      db.transaction().execute(async (transaction) => {
        const { name, ekDigest } = status;
        if ((await transaction.executeQuery(isEnrolled({ ekDigest, name }))).rows.length === 0) {
          throw new Rejection(
            'enrolment_pending',
            `${name} is not enrolled with the key ${ekDigest} any more`,
          );
        }
        for (const blob of evidence) await keepEvidence(transaction, blob, at);
        for (const entry of history) await insertHistory(transaction, ekDigest, { ...entry, node: name });
        await transaction.executeQuery(upsert(statusRow(status)));
        for (const event of audit) await append(transaction, event);
      }),

    async history(name, { limit, before = Number.MAX_SAFE_INTEGER }) {
      const entries: HistoryEntry[] = [];
      let end = before;
      // Unreadable rows are replaced by older ones: a short page means that there are no more.
      while (entries.length < limit) {
        const missing = limit - entries.length;
        const rows = await db
          .selectFrom('history')
          .selectAll()
          .where('node', '=', name)
          .where('at', '<', end)
          .orderBy('at', 'desc')
          .limit(missing)
          .execute();
        entries.push(...parseRows(rows, entryOf, onUnreadable));
        if (rows.length < missing) break;
        end = rows.at(-1)?.at ?? end;
      }
      return entries;
    },
  };
}

function historyInserter(db: Kysely<Tables>) {
  const isTaken = hot<{ node: string; at: number }>()((value) =>
    db
      .selectFrom('history')
      .select('at')
      .where('node', '=', value('node'))
      .where('at', '=', value('at'))
      .compile(),
  );
  const insert = hot<{ [K in keyof Tables['history']]: Tables['history'][K] }>()((value) =>
    db
      .insertInto('history')
      .values({
        ek_digest: value('ek_digest'),
        node: value('node'),
        at: value('at'),
        verdict: value('verdict'),
        evidence_digest: value('evidence_digest'),
        transition: value('transition'),
      })
      .compile(),
  );
  return async (transaction: Kysely<Tables>, ekDigest: string, entry: HistoryEntry): Promise<void> => {
    let { node, at } = entry;
    // Pages are cut by `at`: of two rows in one millisecond the later one moves on by one.
    while ((await transaction.executeQuery(isTaken({ node, at }))).rows.length > 0) at += 1;
    await transaction.executeQuery(
      insert({
        ek_digest: ekDigest,
        node,
        at,
        verdict: JSON.stringify(entry.verdict),
        evidence_digest: entry.evidenceDigest,
        transition: entry.transition ? 1 : 0,
      }),
    );
  };
}

/** @throws UnreadableRow */
function entryOf(row: Tables['history']): HistoryEntry {
  return parseRow('history', `${row.node} at ${row.at}`, () => ({
    node: row.node,
    at: row.at,
    verdict: parseVerdict(row.verdict),
    evidenceDigest: row.evidence_digest,
    transition: row.transition === 1,
  }));
}
