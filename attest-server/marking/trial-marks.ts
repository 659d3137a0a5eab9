import type { NodeStatus } from '../attest/ports.ts';
import type { TaintKeys } from '../formats/marks.ts';
import type { Mode, NodeState, Reason } from '../wire/verdict.ts';
import { judgedNode, type MarkedGroup } from './judged-node.ts';
import { marksFor } from './marks.ts';
import type { ClusterNode, Exemption } from './ports.ts';

/** Verdict that somebody tries on a node. */
export interface TriedVerdict {
  readonly state: NodeState;
  readonly group: string;
  readonly mode: Mode;
  readonly reasons: readonly Reason[];
}

/** Marks that a Node would have. */
export interface TrialMarks {
  /** `key=value`, or the key alone. */
  readonly taints: readonly string[];
  readonly label: boolean;
}

/**
 * The marks of a verdict that nobody gave, in the end: as if a person had released what the breaker holds, and nothing is
 * paused.
 * @param status of the node as it is now: what it proved before counts there, too
 */
export function trialMarks(
  tried: TriedVerdict,
  status: NodeStatus | null,
  node: ClusterNode,
  by: {
    readonly keys: TaintKeys;
    readonly ownNode: string | null;
    readonly exemption: Exemption | null;
    readonly now: number;
  },
): TrialMarks {
  const { keys, ownNode, exemption, now } = by;
  const { state, group: name, mode, reasons } = tried;
  const group: MarkedGroup = { name, mode, tpm: 'required', require: [] };
  const judged = judgedNode(status && withVerdict(status, tried, now), group, now);
  const marks = marksFor(
    status === null ? { ...judged, state, code: reasons[0]?.code ?? null } : judged,
    node,
    {
      keys,
      ownNode,
      exemption,
      paused: false,
      delay: null,
      isSettling: false,
    },
  );
  return {
    taints: marks.taints.map(({ key, value }) => (value === '' ? key : `${key}=${value}`)),
    label: marks.label,
  };
}

function withVerdict(
  status: NodeStatus,
  { state, group, mode, reasons }: TriedVerdict,
  now: number,
): NodeStatus {
  const require = status.verdict?.require ?? [];
  return {
    ...status,
    state,
    expiresAt: now + 1,
    verdict: { state, reasons, group, mode, require, aspects: {}, policy: '' },
  };
}
