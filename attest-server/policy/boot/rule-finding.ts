import type { ReasonCode } from '../../protocol/reasons.ts';
import type { Finding } from '../finding.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/** A boot that breaks a rule of the policy; `event` is null where the log lacks what the rule wants. */
export function ruleFinding(
  { digest }: VouchedBoot,
  code: ReasonCode,
  event: number | null,
  expected: string,
  actual: string | null,
  text: string,
): Finding {
  return {
    code,
    aspect: 'boot',
    source: 'tpm',
    expected,
    actual,
    text,
    evidence: { digest, position: event === null ? 'log' : `event ${event}` },
  };
}
