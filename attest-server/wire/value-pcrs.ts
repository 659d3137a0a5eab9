import type { ReasonCode } from './reasons.ts';

/**
 * PCRs that firmware and its drivers alone extend, and no fact of a loader or system is in. A policy may compare them by
 * value where a log does not replay onto them: some firmware leaves events out (HPE ProLiant Gen10: PCR 0).
 */
export const valuePcrs = [0, 2, 6] as const;

/** True for a problem that takes nothing from what the log proves of other PCRs. */
export function isOfValuePcr({
  code,
  pcr,
}: {
  readonly code: ReasonCode;
  readonly pcr: number | null;
}): boolean {
  return code === 'log_replay_mismatch' && valuePcrs.some((one) => one === pcr);
}
