import { loggedEvents } from '../formats/webhook.ts';
import type { WebhookStore } from '../webhook/ports.ts';
import type { NodeState } from '../wire/verdict.ts';
import { entryOf } from './audit.ts';
import type { Database } from './database.ts';
import { parseVerdict } from './status-row.ts';
import { type OnUnreadable, parseRow, UnreadableRow } from './unreadable-row.ts';

/** Entries that are looked through at once. */
const perLook = 2000;
/** Rows of one millisecond move on by one each; no more than these are written together. */
const mostTogether = 8;

/** The audit log as the queue of the webhook. */
export function webhookStore(
  { db, forMachines }: Pick<Database, 'db' | 'forMachines'>,
  onUnreadable: OnUnreadable,
): WebhookStore {
  const actions = Object.values(loggedEvents).map(({ action }): string => action);
  const head = async () => {
    const row = await db.selectFrom('audit').select('seq').orderBy('seq', 'desc').limit(1).executeTakeFirst();
    return row?.seq ?? 0;
  };
  return {
    async position() {
      const row = await db.selectFrom('webhook_position').select('seq').executeTakeFirst();
      return row?.seq ?? null;
    },

    setPosition: (seq) =>
      forMachines(async (transaction) => {
        if (seq === null) await transaction.deleteFrom('webhook_position').execute();
        else
          await transaction
            .insertInto('webhook_position')
            .values({ id: 1, seq })
            .onConflict((conflict) => conflict.column('id').doUpdateSet({ seq }))
            .execute();
      }),

    head,

    async events(after) {
      const upTo = Math.min(await head(), after + perLook);
      if (upTo <= after) return { upTo: after, waiting: [] };
      const waiting = await db
        .selectFrom('audit')
        .select(['seq', 'at'])
        .where('seq', '>', after)
        .where('seq', '<=', upTo)
        .where('action', 'in', actions)
        // Of verdicts those that change a state; an entry that was damaged is told without it.
        .where(({ or, eb }) =>
          or([eb('action', '<>', 'verdict'), eb('detail', 'like', '%"transition":true%')]),
        )
        .orderBy('seq')
        .execute();
      return { upTo, waiting };
    },

    async entry(seq) {
      const row = await db.selectFrom('audit').selectAll().where('seq', '=', seq).executeTakeFirst();
      return row === undefined ? null : entryOf(row, onUnreadable);
    },

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
