import type { BootProblem } from '../../verify/boot/boot-problem.ts';

/** The events of a PCR onto which the log does not replay explain nothing. */
export function replays(problems: readonly BootProblem[], pcr: number): boolean {
  return !problems.some(
    ({ code, pcr: of }) =>
      (code === 'log_replay_mismatch' || code === 'log_incomplete') && (of === null || of === pcr),
  );
}
