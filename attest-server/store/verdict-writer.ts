import type { RawBuilder } from 'kysely';
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
import type { Tables } from './schema.ts';
import {
  type MovedValues,
  movedColumns,
  movedRow,
  type StatusValues,
  statusColumns,
  statusRow,
} from './status-row.ts';

/** Verdicts on their way to the disk. */
export interface VerdictWriter {
  /** Committed with those of the same few milliseconds; each is on disk whole, or not at all. */
  change(record: ChangeRecord): Promise<void>;
  /** The same over one row alone; false where the node's row is another one by now. */
  age(record: ChangeRecord, read: ReadRow): Promise<boolean>;
  /** Committed with those of the same second, the newest of each node. */
  repeat(record: RepeatRecord): Promise<void>;
  /** Committed before what names it. */
  keep(blob: KeptBlob, ekDigest: string, at: number): Promise<void>;
  /** Evidence of a repeat of this node that is not committed yet. */
  waiting(node: string, digest: string): Buffer | null;
  /** All of this node that was handed over is committed, or refused. */
  settledOf(node: string): Promise<void>;
  settled(): Promise<void>;
  readonly forget: EvidenceWriter['forget'];
}

/** How long the first repeat of a batch waits for others, in milliseconds: with the commit, within a second. */
const gatherRepeatsFor = 750;

interface Gathered extends PromiseWithResolvers<void> {
  record: RepeatRecord;
}

/** By what a row is known that somebody else may have written over. */
type ReadRow = Pick<NodeStatus, 'state' | 'verifiedAt'>;

class AnotherRow extends Error {
  override readonly name = 'AnotherRow';
}

type Write =
  | { readonly change: ChangeRecord; readonly over?: ReadRow }
  | { readonly repeat: RepeatRecord }
  | { readonly blob: KeptBlob; readonly ekDigest: string; readonly at: number };

export function verdictWriter(database: Database, chain: ChainEntry): VerdictWriter {
  const { db, prepare, inTransaction } = database;
  const evidence = evidenceWriter(database);
  const addToLog = auditWriter(database, chain);
  const insertHistory = historyInserter(database);
  const moveStatus = statusMover(database);
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
      .where('verified_at', 'is not distinct from', value('read_at'))
      .returning('ek_digest')
      .compile(),
  );

  // A status is the first that is written of a record: one that finds none leaves nothing behind.
  async function writeChange(
    { status, at, evidence: blobs, history }: ChangeRecord,
    over: ReadRow | undefined,
  ): Promise<Error | null> {
    const { name, ekDigest, evidenceDigest } = status;
    const values = { ...statusRow(status), name };
    const updated =
      over === undefined
        ? await updateStatus(values)
        : await ageStatus({ ...values, read_state: over.state, read_at: over.verifiedAt });
    if (updated === undefined) return over === undefined ? notEnrolled(status) : new AnotherRow();
    let row: number | null = null;
    for (const entry of history) row = await insertHistory(ekDigest, name, entry);
    let isKept = false;
    for (const blob of blobs)
      if (blob.digest !== evidenceDigest) await evidence.share(blob, ekDigest, at);
      else if (row === null) await evidence.keepLatest(blob, { ekDigest, node: name, at });
      else {
        await evidence.keep(blob, row);
        isKept = true;
      }
    if (row !== null && evidenceDigest !== null)
      await evidence.endLatest(ekDigest, isKept ? null : { digest: evidenceDigest, row });
    await use(status, at);
    return null;
  }

  async function writeRepeat(record: RepeatRecord): Promise<Error | null> {
    const { name, ekDigest, verifiedAt, evidence: blobs } = record;
    const moved = await moveStatus({ ...movedRow(record), ek_digest: ekDigest, name });
    if (moved === undefined) return notEnrolled(record);
    for (const blob of blobs.shared) await evidence.share(blob, ekDigest, verifiedAt);
    await evidence.keepLatest(blobs.own, { ekDigest, node: name, at: verifiedAt });
    await use(record, verifiedAt);
    return null;
  }

  /** A part is sent once a boot, and named by each answer. */
  async function use({ parts, ekDigest }: Moved, at: number): Promise<void> {
    for (const digest of Object.values(parts)) await evidence.use(digest, ekDigest, at);
  }

  const commits = groupCommit<Write>(async (writes) => {
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

  const gathered = new Map<string, Gathered>();
  /** By node: repeats that are neither committed nor refused. */
  const underWay = new Map<string, Set<RepeatRecord>>();
  let timer: NodeJS.Timeout | undefined;

  const handOver = ({ record, resolve, reject }: Gathered): void => {
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
  /** Parts that came with repeats which may never be written: who names one of them must bring its bytes. */
  const cameBefore = ({ name, parts }: Moved, blobs: readonly KeptBlob[]): readonly KeptBlob[] => {
    let came = noBlobs;
    for (const { evidence: before } of underWay.get(name) ?? noRecords)
      for (const blob of before.shared)
        if (isNamed(parts, blob.digest) && !isAmong(blobs, blob) && !isAmong(came, blob))
          came = [...came, blob];
    return came;
  };

  const change = (record: ChangeRecord, over?: ReadRow): Promise<void> => {
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
    change: (record) => change(record),

    keep: (blob, ekDigest, at) => commits.add({ blob, ekDigest, at }),

    async age(record, read) {
      try {
        await change(record, read);
        return true;
      } catch (error) {
        if (error instanceof AnotherRow) return false;
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

/** A status counts while its key is enrolled under that name. */
function keyEnrolledAs(db: Database['db'], name: RawBuilder<string>) {
  return db.selectFrom('nodes').select('ek_digest').where('name', '=', name).where('revoked_at', 'is', null);
}

function statusMover({ db, prepare }: Database) {
  return prepare<MovedValues & { readonly ek_digest: string; readonly name: string }>()((value) =>
    db
      .updateTable('statuses')
      .set(movedColumns(value))
      .where('ek_digest', '=', value('ek_digest'))
      .where('ek_digest', 'in', keyEnrolledAs(db, value('name')))
      .returning('ek_digest')
      .compile(),
  );
}

type HistoryValues = { [K in Exclude<keyof Tables['history'], 'id'>]: Tables['history'][K] };

/** The function gives the row's id. */
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
    };
    // Pages are cut by `at`: of two rows in one millisecond the later one moves on by one.
    for (let { at } = entry; ; at += 1) {
      const inserted = await insert({ ...row, at });
      if (inserted !== undefined) return inserted.id;
    }
  };
}
