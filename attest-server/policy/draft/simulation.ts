import { answeredBy, type Bundle } from '../../formats/bundle.ts';
import type { Reference } from '../../formats/reference.ts';
import type { Proven } from '../../verify/proven.ts';
import type { Mode, NodeState, Reason } from '../../wire/verdict.ts';
import { type AppraisedNode, createAppraiser } from '../appraise.ts';
import { type BootForecast, bootsAgain, forecastBoot, installedIn, knownDigests } from '../boot/next-boot.ts';
import { pastOf, withBegun } from '../past.ts';
import { groupOf, type Policy } from '../policy.ts';

/** The outcome of one policy on a piece of evidence. */
export interface SimulatedSide {
  readonly state: NodeState;
  readonly group: string;
  readonly mode: Mode;
  readonly reasons: readonly Reason[];
  /** Whether its next boot would be affirmed, by its own word; absent if the policy does not require the boot. */
  readonly nextBoot?: BootForecast['answer'];
}

/** One piece of evidence under the policy in force (`before`) and under another one (`after`). */
export interface SimulatedNode {
  readonly node: string;
  /** Null if no policy is known, or the evidence cannot be judged: then `note` says why. */
  readonly before: SimulatedSide | null;
  readonly after: SimulatedSide | null;
  /** Whether the state is another, or the same one for other reasons. */
  readonly changed: boolean;
  readonly note: string | null;
}

/**
 * In steps of some milliseconds, for whoever must let others go on.
 * @param bundle the evidence as it is kept: what was known of the node before it
 */
export type Simulate = (
  proven: Proven,
  bundle: Pick<Bundle, 'previous' | 'context'>,
  node: Omit<AppraisedNode, 'past'>,
  at: number,
) => Iterator<void, SimulatedNode>;

/** Reasons of one side; a boot that differs in everything needs no more of them. */
const mostReasons = 16;

/** The policy and references that evidence is judged by. */
export interface SimulationInputs {
  readonly policy: Policy;
  readonly references: readonly Reference[];
}

/** Judges evidence by what is in force (null if that is not known) and by something else, at the same moment. */
export function createSimulation(before: SimulationInputs | null, after: SimulationInputs): Simulate {
  const judging = ({ policy, references }: SimulationInputs) => {
    const appraise = createAppraiser(policy, references);
    const known = knownDigests(references.filter(({ kind }) => kind === 'boot'));
    return function* (...[proven, bundle, node, at]: Parameters<Simulate>): Generator<void, SimulatedSide> {
      const judged = { ...node, past: pastOf(bundle), by: answeredBy(bundle) };
      yield* appraise.ahead(proven, judged, at);
      const { verdict, begun } = appraise(proven, judged, at);
      const reasons = withBegun(verdict.reasons, begun, bundle);
      const { state, group, mode } = verdict;
      const rules = groupOf(policy, node.name, node.labels);
      const its = {
        name: node.name,
        group: rules,
        isAffirmed: bootsAgain(verdict, true),
        // Who gets a key of a disk gets none for what is merely announced.
        hasLease: true,
        // No policy makes another header of it.
        hasOtherHeader: false,
        hasOtherVolume: false,
      };
      const isAsked = rules.require.includes('boot');
      return {
        state,
        group,
        mode,
        reasons: reasons.slice(0, mostReasons),
        ...(isAsked && {
          nextBoot: forecastBoot(installedIn(proven.parts.installed?.bytes), known, its, at).answer,
        }),
      };
    };
  };
  const judgeBefore = before === null ? null : judging(before);
  const judgeAfter = judging(after);
  return function* (...evidence) {
    const was = judgeBefore === null ? null : yield* judgeBefore(...evidence);
    const would = yield* judgeAfter(...evidence);
    return { node: evidence[2].name, before: was, after: would, changed: differs(was, would), note: null };
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
