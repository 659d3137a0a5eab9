import type { NodeStatus } from '../attest/ports.ts';
import type { AuditEvent } from '../formats/audit.ts';
import type { PresenceDoubt } from '../formats/cluster.ts';
import type { ClusterNodes } from '../marking/ports.ts';

/** Dependencies of the presence room; `server.ts` supplies them. */
export interface PresencePorts {
  readonly store: PresenceStore;
  /** Null: the server is in no cluster, and nobody is ever gone. */
  readonly nodes: ClusterNodes | null;
  /** The Node that this server runs on; null: not known. */
  readonly ownNode: string | null;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
  readonly report: PresenceReport;
}

/** The rooms that open later, and need this one themselves. */
export interface PresentNodes {
  status(name: string): NodeStatus | null;
  statuses(): readonly NodeStatus[];
  /** Takes a node that was archived, or never judged, into memory again; null if none is enrolled. */
  recall(name: string): Promise<NodeStatus | null>;
  /** Does the work while no verdict of these nodes is under way, and knows nothing of those that it names afterwards. */
  archive(names: readonly string[], work: () => Promise<readonly string[]>): Promise<void>;
  /** Whether the node's agent has a proven connection. */
  isConnected(name: string): boolean;
}

/** Since when a node has been away. Milliseconds since the epoch. */
export interface Absence {
  /** The cluster has no Node of its name, and it is silent. */
  readonly missingSince: number;
  /** Null: it is waited for. */
  readonly goneAt: number | null;
}

export interface PresenceReport {
  /** @param isMost they were more than half of all that were there */
  gone(names: readonly string[], isMost: boolean): void;
  back(name: string, by: ReturnedBy): void;
  archived(count: number): void;
  /** From now on; null: it has ended. */
  doubted(doubt: PresenceDoubt | null): void;
  fault(error: unknown, where: string): void;
}

/** Cause of a return: the Node in the cluster, or the TPM with a proof. */
export type ReturnedBy = 'node' | 'tpm';

export interface KeptPresence {
  readonly name: string;
  readonly ekDigest: string;
  readonly missingSince: number | null;
  readonly goneAt: number | null;
}

/** Who left and who came back. A resolved promise of a writing method means: committed, with its audit entry. */
export interface PresenceStore {
  /** Enrolled nodes of which the cluster has or had a Node, without those that are archived. */
  load(): Promise<readonly KeptPresence[]>;
  /** Of one node, also an archived one; null if the cluster never had its Node. */
  read(name: string): Promise<KeptPresence | null>;
  /** Which of these names are of enrolled nodes, also of archived ones. */
  enrolledAmong(names: readonly string[]): Promise<readonly string[]>;
  /** The cluster has Nodes of these: from now on they can be missed. */
  noteNodes(ekDigests: readonly string[]): Promise<void>;
  leave(nodes: readonly (Omit<KeptPresence, 'name'> & { readonly audit: AuditEvent })[]): Promise<void>;
  comeBack(
    nodes: readonly (Pick<KeptPresence, 'ekDigest'> & { readonly audit: AuditEvent })[],
  ): Promise<void>;
  /** Their records stay; the evidence of their latest verdicts goes. @param erased makes the entry of its digests */
  archive(
    ekDigests: readonly string[],
    at: number,
    audit: AuditEvent,
    erased: (digests: readonly string[]) => AuditEvent,
  ): Promise<void>;
  /** Nobody is gone any more. Gives how many were. */
  forgetAll(audit: (count: number) => AuditEvent): Promise<number>;
}
