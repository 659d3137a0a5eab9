import type { Bundle } from '../../protocol/bundle.ts';
import type { Reference } from '../../protocol/reference.ts';
import type { NodeState, Reason } from '../../protocol/verdict.ts';
import type { Proven } from '../../verify/proven.ts';
import { type AppraisedNode, createAppraiser } from '../appraise.ts';
import { withContinuity } from '../continuity.ts';
import { groupOf, type Policy } from '../policy.ts';

/** What one policy makes of a piece of evidence. */
export interface SimulatedSide {
  readonly state: NodeState;
  readonly group: string;
  readonly reasons: readonly Reason[];
}

/** One piece of evidence under the policy in force (`before`) and under another one (`after`). */
export interface SimulatedNode {
  readonly node: string;
  /** Null where no policy is known, or the evidence cannot be judged: then `note` says why. */
  readonly before: SimulatedSide | null;
  readonly after: SimulatedSide | null;
  /** Another state, or the same one for other reasons. */
  readonly changed: boolean;
  readonly note: string | null;
}

/** @param bundle the evidence as it is kept: what was known of the node before it */
export type Simulate = (
  proven: Proven,
  bundle: Pick<Bundle, 'previous' | 'context'>,
  node: Omit<AppraisedNode, 'sentBootLog'>,
  at: number,
) => SimulatedNode;

/** Reasons of one side; a boot that differs in everything needs no more of them. */
const mostReasons = 16;

/** Compares two policies on evidence, with the same references and at the same moment, so that nothing else differs. */
export function createSimulation(
  policies: { readonly before: Policy | null; readonly after: Policy },
  references: readonly Reference[],
): Simulate {
  const judging = (policy: Policy) => {
    const appraise = createAppraiser(policy, references);
    return (...[proven, bundle, node, at]: Parameters<Simulate>): SimulatedSide => {
      const sentBootLog = bundle.context?.sentParts?.includes('boot') === true;
      const group = groupOf(policy, node.name, node.labels);
      const verdict = withContinuity(appraise(proven, { ...node, sentBootLog }, at), proven, bundle, group);
      return { state: verdict.state, group: group.name, reasons: verdict.reasons.slice(0, mostReasons) };
    };
  };
  const judgeBefore = policies.before === null ? () => null : judging(policies.before);
  const judgeAfter = judging(policies.after);
  return (...evidence) => {
    const before = judgeBefore(...evidence);
    const after = judgeAfter(...evidence);
    return { node: evidence[2].name, before, after, changed: differs(before, after), note: null };
  };
}

/** A node of which there is nothing to judge. */
export function notSimulated(node: string, note: string): SimulatedNode {
  return { node, before: null, after: null, changed: false, note };
}

function differs(before: SimulatedSide | null, after: SimulatedSide): boolean {
  if (before === null) return true;
  const codes = ({ reasons }: SimulatedSide) =>
    reasons.map(({ code, severity }) => `${code} ${severity}`).join(' ');
  return before.state !== after.state || (after.state !== 'trusted' && codes(before) !== codes(after));
}
