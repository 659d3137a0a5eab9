import type { Bundle } from '../formats/bundle.ts';
import { heldIn } from '../wire/reasons.ts';
import { Rejection } from '../wire/rejection.ts';
import type { Reason } from '../wire/verdict.ts';
import { type BootTransition, type NodePast, noPast } from './appraise.ts';
import type { Sequence } from './sequence.ts';

/**
 * The earlier state of a node, by its bundle.
 * @throws Rejection `malformed` for a previous clock that is no number
 */
export function pastOf({ previous, context }: Pick<Bundle, 'previous' | 'context'>): NodePast {
  return {
    sequence: previous === undefined ? null : sequenceOf(previous),
    // The exporter writes a clock that was not compared as 0.
    concurrent: false,
    twins: noPast.twins,
    sentParts: context?.sentParts ?? noPast.sentParts,
    memory: context?.memory ?? noPast.memory,
  };
}

/** The reasons with that the boot is another one, where whoever exported the bundle did not say so at the time. */
export function withBegun(
  reasons: readonly Reason[],
  begun: BootTransition | null,
  { context }: Pick<Bundle, 'context'>,
): readonly Reason[] {
  const isSaid = reasons.some(({ code }) => code === begun?.code);
  return begun === null || isSaid || context !== undefined ? reasons : [...reasons, begun.reason];
}

function sequenceOf(previous: NonNullable<Bundle['previous']>): Sequence {
  const { resetCount, restartCount, bootId = null, firstBootId = bootId } = previous;
  const { firmwareVersion = null, rewind = 'none', replaced = null } = previous;
  const held = heldIn(previous.held);
  const clock = clockOf(previous.clock);
  return { resetCount, restartCount, clock, firmwareVersion, bootId, firstBootId, rewind, replaced, held };
}

function clockOf(value: number | string): bigint {
  if (/^\d{1,20}$/.test(String(value))) return BigInt(value);
  throw new Rejection('malformed', 'bundle field previous.clock: no whole number of milliseconds', {
    field: 'previous.clock',
  });
}
