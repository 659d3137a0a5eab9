import type { GateOpening } from '../../attest-server/wire/gate.ts';
import type { Decision } from './decide.ts';

/** As the program ends once it has decided: the unit takes the openings for a success, each with a number of its own. */
export function exitCodeOf(decision: Exclude<Decision, { do: 'wait' }>): number {
  return decision.do === 'hold' ? heldExit : openedExit[decision.why];
}

/** As the commands of `assay` end where something is held. */
const heldExit = 12;

export const openedExit: Readonly<Record<GateOpening, number>> = {
  affirmed: 0,
  observe: 0,
  kept: 0,
  operator: 20,
  timeout: 21,
};
