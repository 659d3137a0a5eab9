import type { DatabaseSync } from 'node:sqlite';
import type { Kysely } from 'kysely';
import { Rejection } from '../protocol/rejection.ts';
import { auditWriter } from './audit-log.ts';
import { evidenceWriter } from './evidence-blobs.ts';
import { type GroupCommit, groupCommit } from './group-commit.ts';
import { hotWrite } from './hot-query.ts';
import type { Tables } from './schema.ts';
import { statusRow, statusValues } from './status-row.ts';
import type { AuditEvent, ChainEntry, HistoryEntry, VerdictRecord } from './store.ts';
import { verdictText } from './stored-verdict.ts';

/** Verdicts of one moment share a transaction; each is in it whole, or not at all. */
export function verdictWriter(
  db: Kysely<Tables>,
  database: DatabaseSync,
  chain: ChainEntry,
): GroupCommit<VerdictRecord> {
  const evidenceOf = evidenceWriter(db, database);
  const addToBooks = auditWriter(db, database, chain);
  const inTransaction = transactions(database);
  const insertHistory = historyInserter(db, database);
  const updateStatus = hotWrite<ReturnType<typeof statusRow> & { readonly name: string }>(database)((value) =>
    db
      .updateTable('statuses')
      .set(statusValues(value))
      .where('ek_digest', '=', value('ek_digest'))
      .where('ek_digest', 'in', (from) =>
        from
          .selectFrom('nodes')
          .select('ek_digest')
          .where('name', '=', value('name'))
          .where('revoked_at', 'is', null),
      )
      .compile(),
  );

  const write = (records: readonly VerdictRecord[]): void => {
    const events: AuditEvent[] = [];
    for (const { status, at, evidence, history, audit } of records) {
      const { name, ekDigest } = status;
      if (updateStatus({ ...statusRow(status), name }).changes === 0)
        throw new Rejection('enrolment_pending', `${name} is not enrolled with the key ${ekDigest} any more`);
      let row: number | null = null;
      for (const entry of history) row = insertHistory(ekDigest, { ...entry, node: name });
      for (const blob of evidence) {
        if (row !== null && blob.digest === status.evidenceDigest) evidenceOf.keep(blob, row);
        else evidenceOf.share(blob, at);
      }
      // It is sent once a boot, and named by each answer.
      if (status.bootLogDigest !== null) evidenceOf.use(status.bootLogDigest, at);
      events.push(...audit);
    }
    addToBooks(events);
  };

  // Kysely hands out the one connection in turn; nothing of ours waits between begin and commit.
  return groupCommit((records) =>
    db.connection().execute(async () => inTransaction(() => write(records), evidenceOf.ended)),
  );
}

/** The function runs work in a transaction and tells whether that was committed. */
function transactions(database: DatabaseSync) {
  const begin = database.prepare('begin immediate');
  const commit = database.prepare('commit');
  return (work: () => void, ended: (committed: boolean) => void): void => {
    begin.run();
    try {
      work();
      commit.run();
    } catch (error) {
      ended(false);
      if (database.isTransaction) database.exec('rollback');
      throw error;
    }
    ended(true);
  };
}

type HistoryValues = { [K in Exclude<keyof Tables['history'], 'id'>]: Tables['history'][K] };

/** The function gives the row's id. */
function historyInserter(db: Kysely<Tables>, database: DatabaseSync) {
  const insert = hotWrite<HistoryValues>(database)((value) =>
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
      .onConflict((conflict) => conflict.columns(['node', 'at']).doNothing())
      .compile(),
  );
  return (ekDigest: string, entry: HistoryEntry): number => {
    const row = {
      ek_digest: ekDigest,
      node: entry.node,
      verdict: verdictText(entry.verdict),
      evidence_digest: entry.evidenceDigest,
      transition: entry.transition ? 1 : 0,
    };
    // Pages are cut by `at`: of two rows in one millisecond the later one moves on by one.
    let { at } = entry;
    for (;;) {
      const { changes, lastInsertRowid } = insert({ ...row, at });
      if (changes !== 0) return Number(lastInsertRowid);
      at += 1;
    }
  };
}
