import type { Bundle } from '../../protocol/bundle.ts';
import { classOf, type ReasonCode } from '../../protocol/reasons.ts';
import { Rejection } from '../../protocol/rejection.ts';
import type { Reason } from '../../protocol/verdict.ts';
import type { Proven } from '../../verify/proven.ts';

/**
 * Compares the TPM's counters with what it signed before. A reset counter that went back, or a clock that did within
 * one boot, is another TPM or an old quote; a higher one is a boot in between, which only informs here.
 * @throws Rejection `malformed` for a previous clock that is no number
 */
export function checkContinuity({ clock }: Proven, previous: Bundle['previous']): Reason | null {
  if (previous === undefined) return null;
  const before = { ...previous, clock: clockOf(previous.clock) };
  const resets = [`resetCount ${before.resetCount}`, `resetCount ${clock.resetCount}`] as const;
  if (clock.resetCount < before.resetCount)
    return reason('counter_rollback', 'fail', ...resets, 'the reset counter of the TPM went back');
  if (clock.resetCount > before.resetCount)
    return reason('rebooted', 'info', ...resets, 'the machine was reset since it was last seen');
  const restarts = [`restartCount ${before.restartCount}`, `restartCount ${clock.restartCount}`] as const;
  if (clock.restartCount < before.restartCount)
    return reason('counter_rollback', 'fail', ...restarts, 'the restart counter of the TPM went back');
  if (clock.restartCount > before.restartCount)
    return reason('resumed', 'info', ...restarts, 'the machine was suspended since it was last seen');
  if (clock.clock >= before.clock) return null;
  return reason(
    'clock_rewind',
    'fail',
    `clock ${before.clock}`,
    `clock ${clock.clock}`,
    'the clock of the TPM went back',
  );
}

function clockOf(value: number | string): bigint {
  if (/^\d{1,20}$/.test(String(value))) return BigInt(value);
  throw new Rejection('malformed', 'bundle field previous.clock: no whole number of milliseconds', {
    field: 'previous.clock',
  });
}

function reason(
  code: ReasonCode,
  severity: Reason['severity'],
  expected: string,
  actual: string,
  text: string,
): Reason {
  const fixed = { aspect: 'identity', source: 'tpm', evidence: null } as const;
  return { ...fixed, code, class: classOf(code), severity, expected, actual, text };
}
