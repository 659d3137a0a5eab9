import type { AuditEvent } from '../formats/audit.ts';
import type { KeptDecisions } from './decisions.ts';
import { forCluster, isAsWide, unite } from './latch.ts';
import { ClusterError, type ClusterWriter, type Latch } from './ports.ts';

export interface LatchKeeperParts {
  readonly decisions: Pick<KeptDecisions, 'latch' | 'setLatch'>;
  /** Whether the server is on trial: then it only looks. */
  readonly trial: boolean;
  readonly writer: Pick<ClusterWriter, 'readLatch' | 'applyLatch'>;
  /** Has the policy in force kept before the latch is stored. */
  readonly withPolicy: (store: () => Promise<void>) => Promise<void>;
  readonly report: {
    /** It was missing in the store or in the cluster, and is there again. */
    latchRestored(where: 'store' | 'cluster'): void;
    /** It cannot be read or written in the cluster. Called once for each text. */
    latchUnkept(text: string): void;
  };
}

/** Keeps the latch in both places: level-triggered, so that removing it from one has no effect. */
export interface LatchKeeper {
  /** Reads both places, and writes it where it is missing. A fault of the cluster is reported, and stops nothing. */
  look(): Promise<void>;
  /**
   * Stores it, and writes it to the cluster; returns whether the cluster has it.
   * @param detail for the audit log
   * @throws where it cannot be stored
   */
  enable(latch: Latch, detail: AuditEvent['detail']): Promise<{ readonly inCluster: boolean }>;
  /** Whether the cluster had it when it was last looked at; null: not known. */
  inCluster(): boolean | null;
  /** False on trial, where the cluster has the latch or may have it: what it protects is not to be touched then. */
  mayMark(): boolean;
}

export function createLatchKeeper(parts: LatchKeeperParts): LatchKeeper {
  const { decisions, writer, trial, withPolicy, report } = parts;
  let inCluster: boolean | null = null;
  let told: string | null = null;
  const unkept = (error: ClusterError) => {
    if (told !== error.message) report.latchUnkept(error.message);
    told = error.message;
  };
  /** Null if the cluster gives no answer. */
  const read = async () => {
    try {
      return { latch: await writer.readLatch() };
    } catch (error) {
      if (!(error instanceof ClusterError)) throw error;
      inCluster = null;
      unkept(error);
      return null;
    }
  };
  const write = async (latch: Latch): Promise<boolean> => {
    try {
      await writer.applyLatch(forCluster(latch));
      return true;
    } catch (error) {
      if (!(error instanceof ClusterError)) throw error;
      unkept(error);
      return false;
    }
  };
  const look = async () => {
    const found = await read();
    if (found === null) return;
    if (trial) {
      inCluster = found.latch !== null;
      return;
    }
    const stored = decisions.latch();
    const wanted = unite(stored, found.latch);
    if (wanted === null) {
      inCluster = false;
      told = null;
      return;
    }
    if (stored === null || !isAsWide(stored.groups, wanted.groups)) {
      await withPolicy(() => decisions.setLatch(wanted, 'trust.restore', { where: 'store' }));
      report.latchRestored('store');
    }
    inCluster = found.latch !== null && isAsWide(found.latch.groups, wanted.groups);
    if (!inCluster && (await write(wanted))) {
      inCluster = true;
      await decisions.setLatch(wanted, 'trust.restore', { where: 'cluster' });
      report.latchRestored('cluster');
    }
    if (inCluster) told = null;
  };
  return {
    look,
    async enable(latch, detail) {
      await withPolicy(() => decisions.setLatch(latch, 'trust.enable', detail));
      inCluster = await write(latch);
      return { inCluster };
    },
    inCluster: () => inCluster,
    mayMark: () => !trial || inCluster === false,
  };
}
