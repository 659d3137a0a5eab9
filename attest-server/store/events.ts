import type { EventStore } from '../events/ports.ts';
import type { NodeState } from '../wire/verdict.ts';
import type { Database } from './database.ts';
import { parseVerdict } from './status-row.ts';
import { type OnUnreadable, parseRow, UnreadableRow } from './unreadable-row.ts';

/** Rows of the same millisecond are moved on by one each; at most so many are written together. */
const mostTogether = 8;

/** Finds the verdict in the history that an audit entry is about. */
export function eventStore({ db }: Pick<Database, 'db'>, onUnreadable: OnUnreadable): EventStore {
  return {
    async transition(node, at, state) {
      try {
        const rows = await db
          .selectFrom('history')
          .selectAll()
          .where('node', '=', node)
          .where('at', '>=', at)
          .where('transition', '=', 1)
          .orderBy('at')
          .limit(mostTogether)
          .execute();
        const found = rows.find((row) => verdictOf(row).state === state);
        if (found === undefined) return null;
        const before = await db
          .selectFrom('history')
          .select(['node', 'at', 'verdict'])
          .where('node', '=', node)
          .where('ek_digest', '=', found.ek_digest)
          .where('at', '<', found.at)
          .orderBy('at', 'desc')
          .limit(1)
          .executeTakeFirst();
        const from: NodeState | null = before === undefined ? null : verdictOf(before).state;
        return { verdict: verdictOf(found), from };
      } catch (error) {
        if (!(error instanceof UnreadableRow)) throw error;
        onUnreadable(error);
        return null;
      }
    },
  };
}

/** @throws UnreadableRow */
function verdictOf(row: { readonly node: string; readonly at: number; readonly verdict: string }) {
  return parseRow('history', `${row.node} at ${row.at}`, () => parseVerdict(row.verdict));
}
