import type { Kysely, Selectable } from 'kysely';
import { hot } from './hot-query.ts';
import type { Tables } from './schema.ts';
import { type NamedStatusRow, statusOf } from './status-row.ts';
import type { HistoryEntry, Store } from './store.ts';
import { parseVerdict } from './stored-verdict.ts';
import { type OnUnreadable, parseRow, parseRows } from './unreadable-row.ts';

/** What is known of each node now, and what was before. */
export function verdictRecords(
  db: Kysely<Tables>,
  onUnreadable: OnUnreadable,
): Pick<Store, 'status' | 'statuses' | 'history'> {
  const named = db
    .selectFrom('statuses')
    .innerJoin('nodes', 'nodes.ek_digest', 'statuses.ek_digest')
    .selectAll('statuses')
    .select('nodes.name');
  const byName = hot<{ name: string }>()((value) => named.where('nodes.name', '=', value('name')).compile());
  const everyone = hot()(() => named.orderBy('nodes.name').compile());

  return {
    async status(name) {
      const [row] = (await db.executeQuery(byName({ name }))).rows;
      return row === undefined ? null : statusOf(row);
    },

    async statuses() {
      const { rows } = await db.executeQuery(everyone({}));
      return parseRows<NamedStatusRow, ReturnType<typeof statusOf>>(rows, statusOf, onUnreadable);
    },

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

/** @throws UnreadableRow */
function entryOf(row: Selectable<Tables['history']>): HistoryEntry {
  return parseRow('history', `${row.node} at ${row.at}`, () => ({
    node: row.node,
    at: row.at,
    verdict: parseVerdict(row.verdict),
    evidenceDigest: row.evidence_digest,
    transition: row.transition === 1,
  }));
}
