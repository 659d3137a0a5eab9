import { printable } from '../wire/printable.ts';
import { classOf, type ReasonCode } from '../wire/reasons.ts';
import { type Role, roles } from '../wire/roles.ts';
import {
  type AspectName,
  type AspectStatus,
  mostDetail,
  type NodeState,
  type Reason,
  type Severity,
  type Verdict,
} from '../wire/verdict.ts';
import type { GroupBase } from './group.ts';

/** A finding before a group's rules say how much it weighs. */
export interface Finding extends Omit<Reason, 'class' | 'severity'> {
  /** Its weight if the group requires the aspect and says nothing of the code; default `fail`. */
  readonly severity?: Severity;
  /** Only a reference of this very node can know it, so that nobody can announce it. */
  readonly ofNode?: boolean;
}

/** Not proven is not broken: these leave a node `pending`, whatever their severity. */
export const unproven: ReadonlySet<ReasonCode> = new Set([
  'no_reference',
  'no_boot_log',
  'rebooted',
  'resumed',
  'kexec_detected',
  'change_expected',
  'enrolment_pending',
  'trial_enrolment',
  'unsupported_tpm',
  'facts_unavailable',
  'fw_unreadable',
  'identity_unproven',
]);

/** Where a TPM is in time, and that it is one node, is who it is: that weighs whether or not the group asks for the identity. */
const ofTpm: ReadonlySet<ReasonCode> = new Set([
  'counter_rollback',
  'clone_suspected',
  'clock_rewind',
  'tpm_firmware',
  'ek_already_bound',
]);

/** True for a finding of an aspect that the group requires, or of the TPM itself: none takes the cap of a boot back. */
function counts({ aspect, code }: Pick<Reason, 'aspect' | 'code'>, require: readonly AspectName[]): boolean {
  return require.includes(aspect) || (aspect === 'identity' && ofTpm.has(code)) || code === 'cap_reverted';
}

/** The policy's word for this code, else the finding's own where it counts, else `info`. */
export function severityOf(
  finding: Finding,
  { require, severity }: Pick<GroupBase, 'require' | 'severity'>,
): Severity {
  return severity[finding.code] ?? (counts(finding, require) ? (finding.severity ?? 'fail') : 'info');
}

export function weigh(finding: Finding, group: Pick<GroupBase, 'require' | 'severity'>): Reason {
  return {
    code: finding.code,
    class: classOf(finding.code),
    aspect: finding.aspect,
    severity: severityOf(finding, group),
    source: finding.source,
    expected: finding.expected,
    actual: finding.actual,
    text: finding.text,
    evidence: finding.evidence,
    ...(finding.signed && { signed: true }),
    ...(finding.value !== undefined && { value: finding.value }),
    ...(finding.reference !== undefined && { reference: finding.reference }),
    ...(finding.outOfForce !== undefined && { outOfForce: finding.outOfForce }),
    ...(finding.detail !== undefined && finding.detail.length > 0 && { detail: bounded(finding.detail) }),
  };
}

/** Texts from outside are cut and made printable where they are shown, and kept. */
function bounded(lines: readonly string[]): readonly string[] {
  const shown = lines.length <= mostDetail ? lines : lines.slice(0, mostDetail - 1);
  const left = lines.length - shown.length;
  return [...shown.map((line) => printable(line)), ...(left === 0 ? [] : [`… and ${left} more lines`])];
}

/** It counts against the node, and is more than a proof that is missing. */
export function breaksPolicy({ code, severity }: Pick<Reason, 'code' | 'severity'>): boolean {
  return severity === 'fail' && !unproven.has(code);
}

/** The status by one aspect's reasons; `affirmed` says whether what the aspect needs is all there and as it should be. */
export function statusOf(reasons: readonly Reason[], affirmed: boolean): AspectStatus {
  if (reasons.some(breaksPolicy)) return 'contraindicated';
  if (reasons.some(({ severity }) => severity === 'fail')) return 'none';
  if (affirmed) return 'affirming';
  return reasons.some(({ severity }) => severity === 'warn') ? 'warning' : 'none';
}

/** Reasons that break the policy come first: the first one is shown beside the state. */
export function bySeverity(a: Reason, b: Reason): number {
  return rank(a) - rank(b);
}

function rank(reason: Reason): number {
  if (breaksPolicy(reason)) return 0;
  return { fail: 1, warn: 2, info: 3 }[reason.severity];
}

/**
 * The one place that decides a state, whoever asks and whatever it follows from: evidence, silence, a boot that began.
 * @param vouched aspects that the TPM must vouch for
 * @param by who answered
 */
export function stateOf(
  { require, aspects, reasons }: Pick<Verdict, 'require' | 'aspects' | 'reasons'>,
  vouched: readonly AspectName[] = [],
  by: Role = 'agent',
  tpm: GroupBase['tpm'] = 'required',
): NodeState {
  // What policy knows to have no usable TPM alarms nobody, and is never trusted.
  if (tpm === 'absent') return 'unsupported';
  if (reasons.some(({ code }) => code === 'evidence_overdue')) return 'unknown';
  if (reasons.some((reason) => breaksPolicy(reason) && counts(reason, require))) return 'untrusted';
  const affirms = (aspect: AspectName) =>
    aspects[aspect]?.status === 'affirming' &&
    (!vouched.includes(aspect) || aspects[aspect].source === 'tpm');
  // A policy that requires nothing proves nothing.
  const isTrusted = roles[by].makesTrusted && require.length > 0 && require.every(affirms);
  return isTrusted ? 'trusted' : 'pending';
}
