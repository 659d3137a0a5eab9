import type { Cluster } from '../enrolment/cluster.ts';
import { MachinesWithoutTpm, type UnsupportedNode } from '../enrolment/without-tpm.ts';
import { groupOf, type Policy, type PolicyGroup } from '../policy/policy.ts';
import type { ReasonCode } from '../protocol/reasons.ts';

/** Which rules apply to a node, by the policy in force and the node's labels; none outside a cluster. */
export interface NodeGroups {
  of(node: string): PolicyGroup;
  labelsOf(node: string): Readonly<Record<string, string>>;
  readonly withoutTpm: MachinesWithoutTpm;
  /** Machines of which policy says that they have no TPM say so again and again; that is no event. */
  isExpected(code: ReasonCode, node: string | null): boolean;
}

export function createNodeGroups(
  policy: () => Policy,
  cluster: Cluster | undefined,
  now: () => number,
): NodeGroups {
  const labelsOf = (node: string) => cluster?.labelsOf(node) ?? {};
  const of = (node: string) => groupOf(policy(), node, labelsOf(node));
  const absentBy = (node: string): Omit<UnsupportedNode, 'name'> | null => {
    const { name: group, tpm, mode } = of(node);
    const { name, revision } = policy();
    return tpm === 'absent' ? { group, mode, policy: `${name}@${revision}` } : null;
  };
  return {
    ...{ of, labelsOf },
    withoutTpm: new MachinesWithoutTpm({ absentBy, now }),
    isExpected: (code, node) => code === 'unsupported_tpm' && node !== null && absentBy(node) !== null,
  };
}
