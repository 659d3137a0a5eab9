import type { Selectable } from 'kysely';
import type { HistoryEntry, VerdictStore } from '../attest/ports.ts';
import { flapsSchema } from '../formats/flaps.ts';
import type { HistoryStore } from '../http/ports.ts';
import type { Database } from './database.ts';
import { archivedKeys } from './presence.ts';
import type { Tables } from './schema.ts';
import { hot } from './statements.ts';
import { heldStatus, parseVerdict, statusOf } from './status-row.ts';
import { type OnUnreadable, parseRow, parseRows, UnreadableRow } from './unreadable-row.ts';
import type { VerdictWriter } from './verdict-writer.ts';

/** Verdicts: the present status of each node, and the history. */
export interface Verdicts extends VerdictStore, HistoryStore {}

export function verdictStore({ db }: Database, writer: VerdictWriter, onUnreadable: OnUnreadable): Verdicts {
  const named = db
    .selectFrom('statuses')
    .innerJoin('nodes', 'nodes.ek_digest', 'statuses.ek_digest')
    .innerJoin('proofs', 'proofs.ek_digest', 'statuses.ek_digest')
    .selectAll('statuses')
    .select(['verified_at', 'expires_at', 'clock', 'repeats', 'evidence_digest', 'nodes.name']);
  const byName = hot<{ name: string }>()((value) => named.where('nodes.name', '=', value('name')).compile());
  const archived = hot<{ name: string }>()((value) =>
    named
      .where('nodes.name', '=', value('name'))
      .where('nodes.revoked_at', 'is', null)
      .where(({ eb, and, or }) =>
        or([
          eb('statuses.ek_digest', 'in', archivedKeys(db)),
          // Enrolled again, with what is remembered of its volumes.
          and([eb('statuses.verdict', 'is', null), eb('statuses.memory', 'is not', null)]),
        ]),
      )
      .compile(),
  );
  const everyone = hot()(() =>
    named.where('statuses.ek_digest', 'not in', archivedKeys(db)).orderBy('nodes.name').compile(),
  );

  return {
    recordChange: writer.change,
    recordAgeing: writer.age,
    recordRepeat: writer.repeat,
    keepShared: writer.keep,
    settled: writer.settled,

    async status(name) {
      const [row] = (await db.executeQuery(byName({ name }))).rows;
      return row === undefined ? null : statusOf(row);
    },

    async archivedStatus(name) {
      const [row] = (await db.executeQuery(archived({ name }))).rows;
      return row === undefined ? null : statusOf(row);
    },

    async statuses() {
      const { rows } = await db.executeQuery(everyone({}));
      return rows.map((row) => {
        try {
          return statusOf(row);
        } catch (error) {
          if (!(error instanceof UnreadableRow)) throw error;
          onUnreadable(error);
          return heldStatus(row);
        }
      });
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

    async transitions(name, limit) {
      const query = db.selectFrom('history').selectAll().where('node', '=', name).where('transition', '=', 1);
      return parseRows(await query.orderBy('at', 'desc').limit(limit).execute(), entryOf, onUnreadable);
    },
  };
}

/** @throws UnreadableRow */
export function entryOf(row: Selectable<Tables['history']>): HistoryEntry {
  return parseRow('history', `${row.node} at ${row.at}`, () => ({
    node: row.node,
    at: row.at,
    verdict: parseVerdict(row.verdict),
    evidenceDigest: row.evidence_digest,
    transition: row.transition === 1,
    repeats: row.repeats,
    since: row.since ?? row.at,
    ...(row.flaps !== null && { flaps: flapsSchema.parse(JSON.parse(row.flaps)) }),
    ...(row.for_key === 1 && { forKey: true }),
  }));
}
