import type { PresenceDoubt } from '../formats/cluster.ts';

/** Monotonic milliseconds. */
export interface AbsenceState {
  /** Since when the node is missed; null: it is not. */
  readonly missingAt: number | null;
  readonly isGone: boolean;
}

export interface NodeObservation {
  readonly hasNode: boolean;
  /** It has a proven connection, or has proven itself since it was last looked at. */
  readonly isProven: boolean;
  /** Its latest verdict still counts. */
  readonly isJudged: boolean;
  /** A Node that the cluster does not list may be taken for absent. */
  readonly mayConclude: boolean;
}

export const here: AbsenceState = { missingAt: null, isGone: false };

/**
 * Two must agree that a node is away, for the whole time: the cluster has no Node of it, and its TPM is silent. Each of
 * them alone brings it back at once.
 * @param goneAfter how long it is waited for, in milliseconds
 */
export function awayAfter(
  before: AbsenceState,
  sight: NodeObservation,
  at: number,
  goneAfter: number,
): AbsenceState {
  if (sight.hasNode || sight.isProven) return here;
  if (before.isGone) return before;
  // Time in which nobody knows whether it is there does not count.
  if (!sight.mayConclude) return here;
  const missingAt = before.missingAt ?? at;
  return { missingAt, isGone: !sight.isJudged && at - missingAt >= goneAfter };
}

export interface Fleet {
  /** Nodes that the cluster has. */
  readonly inCluster: number;
  /** Whether it has the Node that the server runs on; null: which that is, is not known. */
  readonly hasOwn: boolean | null;
  /** Nodes with a proven connection of which the cluster had a Node at some time. */
  readonly connected: number;
  /** Those of them that the cluster does not have. */
  readonly denied: number;
}

/** Nodes that live on for a moment while they are removed are no contradiction. */
const leastDenied = 3;

/** Whether the cluster's list of Nodes cannot be true: an API that lies or was emptied must silence no alert. */
export function doubtOf({ inCluster, hasOwn, connected, denied }: Fleet): PresenceDoubt | null {
  if (inCluster === 0) return 'empty';
  if (hasOwn === false) return 'own_node';
  return denied >= leastDenied && denied * 2 > connected ? 'contradicted' : null;
}
