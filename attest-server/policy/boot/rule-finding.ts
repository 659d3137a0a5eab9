import type { ReasonCode } from '../../wire/reasons.ts';
import type { Finding } from '../finding.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/** A boot that breaks a rule of the policy; `event` is null if the log lacks what the rule wants. */
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
    expected: shortened(expected),
    actual: actual === null ? null : shortened(actual),
    text,
    evidence: { digest, position: event === null ? 'log' : `event ${event}` },
  };
}

/** A verdict is kept and sent: it must not grow with what a node measured. */
function shortened(text: string): string {
  return text.length <= 1024 ? text : `${text.slice(0, 1023)}…`;
}
