import { type TaintKeys, trustedCondition, trustedLabel } from '../formats/marks.ts';
import type { ClusterNode, NodeCondition } from './ports.ts';

/** Our marks on a Node, as they are now. */
export interface MarksOnNode {
  readonly taints: readonly MarkTaint[];
  /** Taints with a key of ours that are not in the form of our marks: another effect, or a duplicate. */
  readonly foreignForm: boolean;
  /** The value of the label; null if there is none. */
  readonly label: string | null;
  readonly condition: NodeCondition | null;
}

/** A taint of ours; its effect is `NoSchedule`, always. */
export interface MarkTaint {
  readonly key: string;
  /** Empty if it has none. */
  readonly value: string;
}

/** `key`, or `key=value`. */
export function taintText({ key, value }: MarkTaint): string {
  return value === '' ? key : `${key}=${value}`;
}

export const taintEffect = 'NoSchedule';

export function marksOn(node: ClusterNode, keys: TaintKeys): MarksOnNode {
  const taints: MarkTaint[] = [];
  let foreignForm = false;
  for (const { key, value = '', effect } of node.taints) {
    if (!isOurKey(key, keys)) continue;
    if (effect !== taintEffect || taints.some((one) => one.key === key)) foreignForm = true;
    else taints.push({ key, value });
  }
  return {
    taints,
    foreignForm,
    label: Object.hasOwn(node.labels, trustedLabel) ? (node.labels[trustedLabel] ?? '') : null,
    condition: node.conditions.find(({ type }) => type === trustedCondition) ?? null,
  };
}

export function isOurKey(key: string, { pending, reproving, untrusted }: TaintKeys): boolean {
  return key === pending || key === reproving || key === untrusted;
}

/** Whether two Nodes carry the same marks of ours: anything that a kubelet or another controller writes does not count. */
export function hasSameMarks(a: MarksOnNode, b: MarksOnNode): boolean {
  return textOf(a) === textOf(b);
}

function textOf({ taints, foreignForm, label, condition }: MarksOnNode): string {
  const sorted = taints.map(taintText).sort();
  const { status = '', reason = '', message = '' } = condition ?? {};
  return JSON.stringify([sorted, foreignForm, label, condition === null ? null : [status, reason, message]]);
}
