import { classOf, type ReasonCode } from '../protocol/reasons.ts';
import type { Reason, Verdict } from '../protocol/verdict.ts';

/** What follows from silence, not from evidence. Times are milliseconds since the epoch. */
export function overdueVerdict(verdict: Verdict, verifiedAt: number | null, now: number): Verdict {
  const silent = verifiedAt === null ? null : `${Math.round((now - verifiedAt) / 1000)} s ago`;
  return {
    ...verdict,
    state: 'unknown',
    reasons: [
      serverReason('evidence_overdue', 'identity', 'fail', 'The node has not proven itself lately.', {
        expected: 'a fresh quote',
        actual: silent === null ? null : `the last one ${silent}`,
      }),
    ],
    aspects: Object.fromEntries(
      Object.keys(verdict.aspects).map((aspect) => [aspect, { status: 'none', source: 'server' }]),
    ),
  };
}

const beginnings = {
  rebooted: 'The TPM was reset: the node booted again, and this boot is not appraised yet.',
  resumed: 'The TPM was restarted: the node was suspended, and what it runs is not appraised yet.',
} as const;

/** The moment between a reset or restart of the TPM and the verdict on what runs since. */
export function begunVerdict(verdict: Verdict, code: keyof typeof beginnings): Verdict {
  return {
    ...verdict,
    state: 'pending',
    reasons: [{ ...serverReason(code, 'boot', 'info', beginnings[code]), source: 'tpm' }],
    aspects: { ...verdict.aspects, boot: { status: 'none', source: 'tpm' } },
  };
}

function serverReason(
  code: ReasonCode,
  aspect: Reason['aspect'],
  severity: Reason['severity'],
  text: string,
  values: { expected: string | null; actual: string | null } = { expected: null, actual: null },
): Reason {
  return { code, class: classOf(code), aspect, severity, source: 'server', ...values, text, evidence: null };
}
