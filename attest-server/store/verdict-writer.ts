import type {
  ChangeRecord,
  HistoryEntry,
  KeptBlob,
  Moved,
  NodeStatus,
  RepeatRecord,
} from '../attest/ports.ts';
import type { AuditEvent } from '../formats/audit.ts';
import { partNames } from '../wire/evidence.ts';
import { Rejection } from '../wire/rejection.ts';
import { auditWriter, type ChainEntry } from './audit.ts';
import type { Database } from './database.ts';
import { type EvidenceWriter, evidenceWriter } from './evidence-writer.ts';
import { groupCommit, mostInBatch } from './group-commit.ts';
import { keyEnrolledAs, proofWriter } from './proof-writer.ts';
import type { Tables } from './schema.ts';
import {
  type ShownValues,
  type StatusValues,
  shownColumns,
  shownNames,
  shownRow,
  statusColumns,
  statusRow,
} from './status-row.ts';

/** Writes verdicts in batches. */
export interface VerdictWriter {
  /** Commits the change in a batch of a few milliseconds; each is on disk whole, or not at all. */
  change(record: ChangeRecord): Promise<void>;
  /** Commits the change only if the node's row is still the one that was read; false if not. */
  age(record: ChangeRecord, read: RowVersion): Promise<boolean>;
  /** Commits the newest repeat of each node, in a batch of about a second. */
  repeat(record: RepeatRecord): Promise<void>;
  /** Commits a blob, before the records that name it. */
  keep(blob: KeptBlob, ekDigest: string, at: number): Promise<void>;
  /** Evidence in a repeat of this node that is not committed yet; null if there is none. */
  waiting(node: string, digest: string): Buffer | null;
  /** Resolves when all records of this node are committed or refused. */
  settledOf(node: string): Promise<void>;
  settled(): Promise<void>;
  readonly forget: EvidenceWriter['forget'];
}

/** How long the first repeat of a batch waits for others, in milliseconds: with the commit, within a second. */
const gatherRepeatsFor = 750;

interface GatheredRepeat extends PromiseWithResolvers<void> {
  record: RepeatRecord;
}

/** The fields of a row that show whether it was overwritten since it was read. */
type RowVersion = Pick<NodeStatus, 'state' | 'verifiedAt'>;

class RowChanged extends Error {
  override readonly name = 'RowChanged';
}

type BatchRecord =
  | { readonly change: ChangeRecord; readonly over?: RowVersion }
  | { readonly repeat: RepeatRecord }
  | { readonly blob: KeptBlob; readonly ekDigest: string; readonly at: number };

export function verdictWriter(database: Database, chain: ChainEntry): VerdictWriter {
  const { db, prepare, inTransaction } = database;
  const evidence = evidenceWriter(database);
  const proofs = proofWriter(database);
  const addToLog = auditWriter(database, chain);
  const insertHistory = historyInserter(database);
  const updateShown = shownUpdater(database);
  const updateStatus = prepare<StatusValues & { readonly name: string }>()((value) =>
    db
      .updateTable('statuses')
      .set(statusColumns(value))
      .where('ek_digest', '=', value('ek_digest'))
      .where('ek_digest', 'in', keyEnrolledAs(db, value('name')))
      .returning('ek_digest')
      .compile(),
  );

  const ageStatus = prepare<
    StatusValues & { readonly name: string; readonly read_state: string; readonly read_at: number | null }
  >()((value) =>
    db
      .updateTable('statuses')
      .set(statusColumns(value))
      .where('ek_digest', '=', value('ek_digest'))
      .where('ek_digest', 'in', keyEnrolledAs(db, value('name')))
      .where('state', '=', value('read_state'))
      .where(({ exists }) =>
        exists(
          db
            .selectFrom('proofs')
            .select('ek_digest')
            .where('ek_digest', '=', value('ek_digest'))
            .where('verified_at', 'is not distinct from', value('read_at')),
        ),
      )
      .returning('ek_digest')
      .compile(),
  );

  // A status is the first that is written of a record: one that finds none leaves nothing behind.
  async function writeChange(
    { status, at, evidence: blobs, history }: ChangeRecord,
    over: RowVersion | undefined,
  ): Promise<Error | null> {
    const { name, ekDigest, evidenceDigest } = status;
    const values = { ...statusRow(status), name };
    const updated =
      over === undefined
        ? await updateStatus(values)
        : await ageStatus({ ...values, read_state: over.state, read_at: over.verifiedAt });
    if (updated === undefined) return over === undefined ? notEnrolled(status) : new RowChanged();
    let row: number | null = null;
    for (const entry of history) row = await insertHistory(ekDigest, name, entry);
    let own: KeptBlob | null = null;
    for (const blob of blobs)
      if (blob.digest === evidenceDigest) own = blob;
      else await evidence.share(blob, ekDigest, at);
    if (row === null) await (own === null ? proofs.move(status) : proofs.keep(status, own));
    else {
      if (own !== null) await evidence.keep(own, row);
      await proofs.leave(status, own === null ? row : null);
    }
    await evidence.use(status.parts, ekDigest, at);
    return null;
  }

  async function writeRepeat(record: RepeatRecord): Promise<Error | null> {
    const { ekDigest, verifiedAt, evidence: blobs } = record;
    if (!(await proofs.keep(record, blobs.own))) return notEnrolled(record);
    await updateShown(shownRow(record));
    for (const blob of blobs.shared) await evidence.share(blob, ekDigest, verifiedAt);
    // A part is sent once a boot, and named by each answer.
    await evidence.use(record.parts, ekDigest, verifiedAt);
    return null;
  }

  const commits = groupCommit<BatchRecord>(async (writes) => {
    let isCommitted = false;
    try {
      const refusals = await inTransaction(async () => {
        // Of an attempt that found no room nothing is there.
        evidence.ended(false);
        const refused: (Error | null)[] = [];
        const events: AuditEvent[] = [];
        for (const write of writes) {
          if ('repeat' in write) refused.push(await writeRepeat(write.repeat));
          else if ('blob' in write) {
            await evidence.share(write.blob, write.ekDigest, write.at);
            refused.push(null);
          } else {
            const refusal = await writeChange(write.change, write.over);
            refused.push(refusal);
            if (refusal === null) events.push(...write.change.audit);
          }
        }
        await addToLog(events);
        return refused;
      });
      isCommitted = true;
      return refusals;
    } finally {
      evidence.ended(isCommitted);
    }
  });

  const gathered = new Map<string, GatheredRepeat>();
  /** Repeats that are neither committed nor refused, by node. */
  const underWay = new Map<string, Set<RepeatRecord>>();
  let timer: NodeJS.Timeout | undefined;

  const handOver = ({ record, resolve, reject }: GatheredRepeat): void => {
    commits
      .add({ repeat: record })
      .finally(() => landed(record))
      .then(resolve, reject);
  };
  const flush = (): Promise<void> => {
    clearTimeout(timer);
    timer = undefined;
    const all = [...gathered.values()];
    gathered.clear();
    for (const each of all) handOver(each);
    return commits.settled();
  };
  const landed = (record: RepeatRecord): void => {
    const its = underWay.get(record.name);
    its?.delete(record);
    if (its?.size === 0) underWay.delete(record.name);
  };
  /** Parts of uncommitted repeats, which may never be written: a record that names one must bring its bytes. */
  const cameBefore = ({ name, parts }: Moved, blobs: readonly KeptBlob[]): readonly KeptBlob[] => {
    let came = noBlobs;
    for (const { evidence: before } of underWay.get(name) ?? noRecords)
      for (const blob of before.shared)
        if (isNamed(parts, blob.digest) && !isAmong(blobs, blob) && !isAmong(came, blob))
          came = [...came, blob];
    return came;
  };

  const change = (record: ChangeRecord, over?: RowVersion): Promise<void> => {
    const { ekDigest } = record.status;
    const before = gathered.get(ekDigest);
    // Ahead of the change: after it, it would show the node as it was before.
    if (before !== undefined) {
      gathered.delete(ekDigest);
      handOver(before);
    }
    const came = cameBefore(record.status, record.evidence);
    const whole = came.length === 0 ? record : { ...record, evidence: [...record.evidence, ...came] };
    return commits.add(over === undefined ? { change: whole } : { change: whole, over });
  };

  return {
    change,

    keep: (blob, ekDigest, at) => commits.add({ blob, ekDigest, at }),

    async age(record, read) {
      try {
        await change(record, read);
        return true;
      } catch (error) {
        if (error instanceof RowChanged) return false;
        throw error;
      }
    },

    repeat(latest) {
      const { ekDigest, name } = latest;
      const { own, shared } = latest.evidence;
      const came = cameBefore(latest, shared);
      const record =
        came.length === 0 ? latest : { ...latest, evidence: { own, shared: [...shared, ...came] } };
      const its = underWay.get(name) ?? new Set();
      underWay.set(name, its.add(record));
      const before = gathered.get(ekDigest);
      if (before !== undefined) {
        its.delete(before.record);
        before.record = record;
        return before.promise;
      }
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      gathered.set(ekDigest, { record, promise, resolve, reject });
      if (gathered.size >= mostInBatch) void flush();
      else timer ??= setTimeout(() => void flush(), gatherRepeatsFor);
      return promise;
    },

    waiting(node, digest) {
      for (const { evidence: blobs } of underWay.get(node) ?? [])
        for (const blob of [blobs.own, ...blobs.shared]) if (blob.digest === digest) return blob.bytes;
      return null;
    },

    settledOf: async (node) => (underWay.has(node) ? flush() : undefined),

    settled: flush,

    forget: evidence.forget,
  };
}

const noRecords: ReadonlySet<RepeatRecord> = new Set();
const noBlobs: readonly KeptBlob[] = [];

function isNamed(parts: Moved['parts'], digest: string): boolean {
  for (const name of partNames) if (parts[name] === digest) return true;
  return false;
}

function isAmong(blobs: readonly KeptBlob[], { digest }: KeptBlob): boolean {
  return blobs.some((blob) => blob.digest === digest);
}

function notEnrolled({ name, ekDigest }: Moved): Rejection {
  return new Rejection('enrolment_pending', `${name} is not enrolled with the key ${ekDigest} any more`);
}

/** Updates the long row of a status only if an answer shows a change. */
function shownUpdater({ db, prepare }: Database) {
  return prepare<ShownValues>()((value) =>
    db
      .updateTable('statuses')
      .set(shownColumns(value))
      .where('ek_digest', '=', value('ek_digest'))
      .where(({ or, eb }) => or(shownNames.map((name) => eb(name, 'is distinct from', value(name)))))
      .compile(),
  );
}

type HistoryValues = { [K in Exclude<keyof Tables['history'], 'id'>]: Tables['history'][K] };

/** Inserts a row into the history, and gives its id. */
function historyInserter({ db, prepare }: Database) {
  const insert = prepare<HistoryValues>()((value) =>
    db
      .insertInto('history')
      .values({
        ek_digest: value('ek_digest'),
        node: value('node'),
        at: value('at'),
        verdict: value('verdict'),
        evidence_digest: value('evidence_digest'),
        transition: value('transition'),
        repeats: value('repeats'),
        since: value('since'),
        flaps: value('flaps'),
        for_key: value('for_key'),
      })
      .onConflict((conflict) => conflict.columns(['node', 'at']).doNothing())
      .returning('id')
      .compile(),
  );
  return async (ekDigest: string, node: string, entry: Omit<HistoryEntry, 'node'>): Promise<number> => {
    const row = {
      ek_digest: ekDigest,
      node,
      verdict: JSON.stringify(entry.verdict),
      evidence_digest: entry.evidenceDigest,
      transition: entry.transition ? 1 : 0,
      repeats: entry.repeats,
      since: entry.since === entry.at ? null : entry.since,
      flaps: entry.flaps === undefined ? null : JSON.stringify(entry.flaps),
      for_key: entry.forKey === true ? 1 : 0,
    };
    // Pages are cut by `at`: of two rows in one millisecond the later one moves on by one.
    for (let { at } = entry; ; at += 1) {
      const inserted = await insert({ ...row, at });
      if (inserted !== undefined) return inserted.id;
    }
  };
}
