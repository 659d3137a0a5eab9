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
  const keepEvidence = evidenceWriter(db, database);
  const addToBooks = auditWriter(db, database, chain);
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
    const kept = new Set<string>();
    const events: AuditEvent[] = [];
    for (const { status, at, evidence, history, audit } of records) {
      const { name, ekDigest } = status;
      if (updateStatus({ ...statusRow(status), name }) === 0)
        throw new Rejection('enrolment_pending', `${name} is not enrolled with the key ${ekDigest} any more`);
      for (const blob of evidence) {
        if (kept.has(blob.digest)) continue;
        keepEvidence(blob, at);
        kept.add(blob.digest);
      }
      for (const entry of history) insertHistory(ekDigest, { ...entry, node: name });
      events.push(...audit);
    }
    addToBooks(events);
  };

  // Kysely hands out the one connection in turn; nothing of ours waits between begin and commit.
  return groupCommit((records) =>
    db.connection().execute(async () => inTransaction(database, () => write(records))),
  );
}

function inTransaction(database: DatabaseSync, work: () => void): void {
  database.exec('begin immediate');
  try {
    work();
    database.exec('commit');
  } catch (error) {
    if (database.isTransaction) database.exec('rollback');
    throw error;
  }
}

function historyInserter(db: Kysely<Tables>, database: DatabaseSync) {
  const insert = hotWrite<{ [K in keyof Tables['history']]: Tables['history'][K] }>(database)((value) =>
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
  return (ekDigest: string, entry: HistoryEntry): void => {
    const row = {
      ek_digest: ekDigest,
      node: entry.node,
      verdict: verdictText(entry.verdict),
      evidence_digest: entry.evidenceDigest,
      transition: entry.transition ? 1 : 0,
    };
    // Pages are cut by `at`: of two rows in one millisecond the later one moves on by one.
    let { at } = entry;
    while (insert({ ...row, at }) === 0) at += 1;
  };
}
