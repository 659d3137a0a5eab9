import type { UnsupportedNode } from '../enrolment/without-tpm.ts';
import { policyLabel } from '../formats/policy-label.ts';
import { gateBefore } from '../policy/gate.ts';
import { isLatched, notLatchable } from '../policy/latch.ts';
import { groupOf, type Policy, type PolicyGroup } from '../policy/policy.ts';
import type { GateOrder } from '../wire/gate.ts';
import type { ReasonCode } from '../wire/reasons.ts';

/** Which rules apply to a node, by the policy in force and the node's labels. */
export interface NodeGroups {
  of(node: string): PolicyGroup;
  all(): readonly PolicyGroup[];
  /** Whether a latch on these groups (none: all of today and tomorrow) holds this one. */
  isLatched(latched: readonly string[], group: string): boolean;
  /** Why trust cannot be enabled for good for these groups; none: all. */
  notLatchable(groups: readonly string[]): readonly string[];
  /** The order for its gate before anything is proven. */
  gateOf(node: string): GateOrder;
  /** The policy on a machine that has no TPM; null if it expects one. */
  absentBy(node: string): Omit<UnsupportedNode, 'name'> | null;
  /** Machines of which policy says that they have no TPM say so again and again; that is no event. */
  isExpected(code: ReasonCode, node: string | null): boolean;
}

export function createNodeGroups(
  policy: () => Policy,
  labelsOf: (node: string) => Readonly<Record<string, string>>,
): NodeGroups {
  const of = (node: string) => groupOf(policy(), node, labelsOf(node));
  const absentBy = (node: string): Omit<UnsupportedNode, 'name'> | null => {
    const { name: group, tpm, mode } = of(node);
    return tpm === 'absent' ? { group, mode, policy: policyLabel(policy()) } : null;
  };
  return {
    of,
    all: () => policy().groups,
    isLatched,
    notLatchable: (groups) =>
      policy().trial === true
        ? [noLatchOnTrial]
        : notLatchable(groups, policy().groups).map(({ text }) => text),
    gateOf: (node) => gateBefore(of(node)),
    absentBy,
    isExpected: (code, node) => code === 'unsupported_tpm' && node !== null && absentBy(node) !== null,
  };
}

const noLatchOnTrial =
  'this server is on trial (trial, ASSAY_TRIAL): nothing that it says is proven, and no trust can rest on it';
