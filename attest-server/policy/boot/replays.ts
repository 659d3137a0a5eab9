import type { BootProblem } from '../../verify/boot/boot-problem.ts';

/** What a log says of a PCR onto which it does not replay explains nothing. */
export function replays(problems: readonly BootProblem[], pcr: number): boolean {
  return !problems.some(
    ({ code, pcr: of }) =>
      (code === 'log_replay_mismatch' || code === 'log_incomplete') && (of === null || of === pcr),
  );
}
