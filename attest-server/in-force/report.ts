import type { Policy } from '../policy/policy.ts';
import type { NodeState } from '../wire/verdict.ts';
import type { ReloadedPart } from './reload.ts';

/** Which rules are in force, and which came to nothing. */
export interface InForceReport {
  policyInForce(policy: Policy): void;
  /** The outcome of a policy that was read again on each node's latest evidence, beside the earlier one. */
  policyCompared(policy: Policy, nodes: readonly ComparedNode[]): void;
  /** The part that was read again is faulty; the old one stays in force. */
  notReloaded(part: ReloadedPart, text: string): void;
}

interface ComparedNode {
  readonly node: string;
  readonly before: { readonly state: NodeState } | null;
  readonly after: { readonly state: NodeState } | null;
  readonly changed: boolean;
}
