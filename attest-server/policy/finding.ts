import { classOf, type ReasonCode } from '../protocol/reasons.ts';
import type { Aspect, AspectStatus, Reason, Severity } from '../protocol/verdict.ts';
import type { PolicyGroup } from './policy.ts';

/** What was found, before a group's rules say how much it weighs. */
export interface Finding extends Omit<Reason, 'class' | 'severity'> {
  /** What it weighs where the group requires the aspect and says nothing of the code; default `fail`. */
  readonly severity?: Severity;
}

/** Not proven is not broken: these leave a node `pending`, whatever their severity. */
const unproven: ReadonlySet<ReasonCode> = new Set([
  'no_reference',
  'no_boot_log',
  'rebooted',
  'resumed',
  'kexec_detected',
  'change_expected',
  'enrolment_pending',
  'unsupported_tpm',
  'identity_unproven',
]);

/** Severity: the policy's word for this code, else the finding's own where the group requires the aspect, else `info`. */
export function weigh(finding: Finding, group: PolicyGroup): Reason {
  const required: readonly Aspect[] = group.require;
  return {
    ...finding,
    class: classOf(finding.code),
    severity:
      group.severity[finding.code] ??
      (required.includes(finding.aspect) ? (finding.severity ?? 'fail') : 'info'),
  };
}

export function breaksPolicy({ code, severity }: Reason): boolean {
  return severity === 'fail' && !unproven.has(code);
}

/** Of one aspect's reasons; `proven` says whether what the aspect needs is all there and as it should be. */
export function statusOf(reasons: readonly Reason[], proven: boolean): AspectStatus {
  if (reasons.some(breaksPolicy)) return 'contraindicated';
  if (proven) return 'affirming';
  return reasons.some(({ severity }) => severity === 'warn') ? 'warning' : 'none';
}
