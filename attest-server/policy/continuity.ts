import type { Bundle } from '../protocol/bundle.ts';
import { classOf } from '../protocol/reasons.ts';
import { Rejection } from '../protocol/rejection.ts';
import type { Reason, Verdict } from '../protocol/verdict.ts';
import type { Proven } from '../verify/proven.ts';
import { amend } from './amend.ts';
import { judgeSequence, type Sequence } from './boot-sequence.ts';
import type { PolicyGroup } from './policy.ts';

/**
 * The verdict with what follows from the counters that the bundle says were seen before.
 * @throws Rejection `malformed` for a previous clock that is no number
 */
export function withContinuity(
  verdict: Verdict,
  proven: Proven,
  { previous, context }: Pick<Bundle, 'previous' | 'context'>,
  group: PolicyGroup,
): Verdict {
  if (previous === undefined) return verdict;
  const { clock, firmwareVersion, facts } = proven;
  const past = sequenceOf(previous);
  const now = { ...clock, firmwareVersion, bootId: facts?.bootId ?? null };
  const { findings, begun } = judgeSequence(past, now);
  const amended = amend(verdict, findings, group);
  // Whoever exported it with its context told so at the time.
  const isTold = amended.reasons.some(({ code }) => code === begun);
  if (begun === null || isTold || context !== undefined) return amended;
  return { ...amended, reasons: [...amended.reasons, began(begun, past, proven)] };
}

function sequenceOf(previous: NonNullable<Bundle['previous']>): Sequence {
  const { resetCount, restartCount, bootId = null, firstBootId = bootId } = previous;
  const { firmwareVersion = null, rewind = 'none', held = null } = previous;
  const clock = clockOf(previous.clock);
  return { resetCount, restartCount, clock, firmwareVersion, bootId, firstBootId, rewind, held };
}

/** Here the boot is appraised in full already: that it is another one only informs. */
function began(code: 'rebooted' | 'resumed', past: Sequence, { clock }: Proven): Reason {
  const [counter, what] =
    code === 'rebooted' ? (['resetCount', 'reset'] as const) : (['restartCount', 'suspended'] as const);
  return {
    ...{ code, class: classOf(code), aspect: 'boot', severity: 'info', source: 'tpm', evidence: null },
    expected: `${counter} ${past[counter]}`,
    actual: `${counter} ${clock[counter]}`,
    text: `The machine was ${what} since it was last seen.`,
  };
}

function clockOf(value: number | string): bigint {
  if (/^\d{1,20}$/.test(String(value))) return BigInt(value);
  throw new Rejection('malformed', 'bundle field previous.clock: no whole number of milliseconds', {
    field: 'previous.clock',
  });
}
