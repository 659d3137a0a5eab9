/**
 * The chained log (`audit-log`, `chain`), its signed checkpoints, which the cluster keeps too (`cluster-checkpoint`),
 * and the choice of refusals that get an entry (`refusals`). `reader` gives committed entries in order.
 */

import type { Logger } from 'pino';
import type { AuditEvent } from '../formats/audit.ts';
import { storageCauseOf } from '../formats/server-fault.ts';
import type { AuditPorts, Readiness } from '../http/ports.ts';
import { timings } from '../wire/limits.ts';
import { AuditLog, type ShownCheckpoint } from './audit-log.ts';
import { backUp, backUpTo } from './backup.ts';
import { type CheckpointKeeper, ClusterCheckpoint } from './cluster-checkpoint.ts';
import { paced } from './paced.ts';
import type { AuditKeys, AuditReaderName, AuditStore } from './ports.ts';
import { type AuditReader, auditReader, type EntryReader, entryReader, smallPage } from './reader.ts';
import { createRefusalLog, type RefusalLog } from './refusals.ts';

export interface AuditParts {
  readonly store: { readonly audit: AuditStore; backup(path: string): Promise<void> };
  readonly stateDir: string;
  readonly keys: AuditKeys;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
  /** The cluster as one more witness; null outside of one. */
  readonly keeper: CheckpointKeeper | null;
  readonly logger: Logger;
  readonly report: {
    /** A checkpoint was signed. @param size in entries */
    checkpointed(size: number): void;
    /** The log was cut or replaced. */
    rolledBack(text: string): void;
    /** A checkpoint that the agent of this node brought contradicts the log. */
    contradicted(node: string, text: string): void;
    contradictedByCluster(text: string): void;
    checkpointKept(error: Error | null): void;
    fault(error: unknown, where: string): void;
  };
}

/** The audit log of a running server: signed regularly, shown to agents and the API, checked against witnesses. */
export interface Audit extends AsyncDisposable {
  readonly ports: AuditPorts;
  /** The checkpoint that travels with a verdict; null only before the first entry. */
  shown(): ShownCheckpoint | null;
  /** Compares the log with the checkpoint in an agent's hello, and reports a contradiction. */
  checkWitness(node: string, checkpoint: string): Promise<void>;
  /** Decides whether a refusal gets an entry, or is counted by the hourly one. */
  readonly note: RefusalLog['note'];
  write(event: AuditEvent): Promise<void>;
  /** Backs up the database to this file, by the server itself. @throws Error if the copy is not whole */
  backUp(path: string): Promise<{ readonly bytes: number }>;
  readonly entries: EntryReader;
  reader(name: AuditReaderName): AuditReader;
  ready(): Readiness;
}

/** Approximate size of a page of entries. */
const pageBytes = 1024 * 1024;
/** Milliseconds between two checks for a newer checkpoint to keep in the cluster. */
const keepEvery = 1000;

/** @throws Error if the store belongs to another key than the one in the state folder */
export async function openAudit(parts: AuditParts): Promise<Audit> {
  const { store, stateDir, keys, now, monotonic, keeper, logger, report } = parts;
  const { checkpointed: signed, rolledBack, contradicted, fault } = report;
  const log = await AuditLog.open({ store: store.audit, stateDir, keys, now, signed, rolledBack });
  const inCluster =
    keeper &&
    new ClusterCheckpoint({
      keeper,
      compare: async (note) => ({ isOwn: log.isOwn(note), contradiction: await log.contradicts(note) }),
      isRolledBack: () => log.rollback !== null,
      monotonic,
      report,
    });
  const keep = () => {
    if (log.shown !== null) inCluster?.signed(log.shown.checkpoint);
    return inCluster?.turn();
  };
  const keeping = setInterval(() => void keep(), keepEvery);
  const signing = setInterval(() => {
    log.sign().catch((error: unknown) => fault(error, 'checkpoint'));
  }, timings.checkpointEvery);
  /** Reports a full disk at the end, and lets the server stop: the existing checkpoints stay readable. */
  const noRoom = (error: unknown): void => {
    if (storageCauseOf(error) === null) throw error;
    fault(error, 'checkpoint');
  };
  const underWay = new Set<Promise<void>>();
  const write = (event: AuditEvent): Promise<void> => {
    const written = store.audit.append(event).finally(() => underWay.delete(written));
    underWay.add(written);
    return written;
  };
  const refusals = createRefusalLog(now());
  const writeCount = async (): Promise<void> => {
    const event = refusals.count(now());
    if (event !== null) await write(event);
  };
  const counting = setInterval(() => {
    writeCount().catch((error: unknown) => fault(error, 'count of refusals'));
  }, timings.countRefusalsEvery);
  return {
    ports: {
      search: (search) => store.audit.search({ ...search, bytes: pageBytes }),
      checkpoints: (page) => store.audit.checkpoints(page),
      keys: () => ({ origin: log.origin, keys: log.keys, earlier: log.earlier }),
      // A reader must not force a disk sync with each request.
      sign: paced(timings.signOnDemandEvery, () => log.sign().catch(noRoom)),
      rollback: () => log.rollback,
      async rotate(actor) {
        const rotated = await log.rotate(actor);
        logger.warn({ actor, ...rotated }, 'the audit log has a new key');
        return rotated;
      },
      async resolve(actor, reason) {
        const resolved = await log.resolve(actor, reason);
        logger.warn({ actor, reason }, 'a rollback of the audit log is resolved');
        return resolved;
      },
      async backup(actor) {
        const made = await backUp(store, stateDir, actor, now());
        logger.info({ actor, ...made }, 'a backup was made');
        return made;
      },
    },
    shown: () => log.shown,
    async checkWitness(node, checkpoint) {
      const text = await log.contradicts(checkpoint);
      if (text !== null) contradicted(node, text);
    },
    note: refusals.note,
    write,
    backUp: (path) => backUpTo(store, path, 'server', now()),
    entries: entryReader(store.audit, smallPage),
    reader: (name) => auditReader(store.audit, name),
    ready: () => ({ ok: true, reason: log.rollback }),
    async [Symbol.asyncDispose]() {
      clearInterval(signing);
      clearInterval(counting);
      clearInterval(keeping);
      await writeCount().catch(noRoom);
      await Promise.allSettled(underWay);
      await log.sign().catch(noRoom);
      if (log.shown !== null) inCluster?.signed(log.shown.checkpoint);
      await inCluster?.close();
    },
  };
}
