import type { TaintKeys } from '../formats/marks.ts';
import type { NodeState } from '../wire/verdict.ts';
import { taintEffect } from './marks-on-node.ts';
import type { Toleration, Workload, Workloads } from './ports.ts';

/** A node that the latch would cover. */
export interface CoveredNode {
  readonly name: string;
  readonly group: string;
  readonly state: NodeState;
}

/** Whom trust would touch that cannot be taken back: what lands only where its node is proven. */
export interface TrustTrial {
  readonly nodes: readonly CoveredNode[];
  /** Those without a toleration of our taints: they start on no node that is not proven. */
  readonly daemonSets: readonly Workload[];
  readonly pendingPods: readonly Workload[];
}

export function trustTrial(
  nodes: readonly CoveredNode[],
  { daemonSets, pendingPods }: Workloads,
  keys: TaintKeys,
): TrustTrial {
  const isKeptAway = ({ tolerations }: Workload) =>
    ![keys.pending, keys.reproving, keys.untrusted].every((taint) =>
      tolerations.some((toleration) => tolerates(toleration, taint, taint !== keys.untrusted)),
    );
  return {
    nodes: nodes.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    daemonSets: daemonSets.filter(isKeptAway).toSorted(byName),
    pendingPods: pendingPods.filter(isKeptAway).toSorted(byName),
  };
}

/** @param isPlain the taint has no value; else that is a reason code, and only `Exists` tolerates each of them */
function tolerates(
  { key, operator = 'Equal', value = '', effect }: Toleration,
  taint: string,
  isPlain: boolean,
): boolean {
  if (effect !== undefined && effect !== '' && effect !== taintEffect) return false;
  if (key === undefined || key === '') return operator === 'Exists';
  return key === taint && (operator === 'Exists' || (isPlain && value === ''));
}

function byName(a: Workload, b: Workload): number {
  const [one, two] = [`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`];
  return one < two ? -1 : Number(one > two);
}
