import type { Reference } from '../protocol/reference.ts';
import type { Aspect, AspectResult, Reason, Verdict } from '../protocol/verdict.ts';
import type { Proven, QuotedBank } from '../verify/proven.ts';
import { type BootJudgement, judgeBoot } from './boot/judge-boot.ts';
import { kexecFinding } from './boot/kexec.ts';
import { explainMismatch } from './boot/mismatch.ts';
import {
  type PreparedReference,
  prepareReferences,
  type ReferenceSet,
  referenceMatches,
} from './boot/reference-set.ts';
import { revokedIn } from './boot/revoked.ts';
import { needsLog } from './boot/rules.ts';
import { vouchedBoot } from './boot/vouched-boot.ts';
import { breaksPolicy, type Finding, statusOf, weigh } from './finding.ts';
import {
  bootLogGone,
  deniedTpmFirmware,
  identityUnproven,
  judgedWithoutLog,
  noBootLog,
  noLogForRules,
  noLogToJudge,
  noReference,
  otherTpmClass,
  problemsOf,
  revokedReference,
} from './findings.ts';
import type { Policy, PolicyGroup } from './policy.ts';
import type { Circumstances } from './remembered.ts';

export interface PreparedGroup {
  readonly group: PolicyGroup;
  readonly policy: string;
  readonly set: ReferenceSet;
  /** Versions of TPM firmware. */
  readonly denied: ReadonlySet<string>;
  /** What the reference named by the rule `dbx` revokes; null where it says nothing. */
  readonly revocations: readonly string[] | null;
  /** The verdict on a boot in which nothing was found, of a proven identity: nearly all of them. */
  readonly good: Verdict;
}

export function prepareGroup(
  policy: Policy,
  group: PolicyGroup,
  references: readonly Reference[],
): PreparedGroup {
  const name = `${policy.name}@${policy.revision}`;
  return {
    group,
    policy: name,
    set: prepareReferences(group, references),
    denied: new Set(group.boot.tpmFirmwareDeny),
    revocations: references.find((one) => one.name === group.boot.dbx.reference)?.revocations ?? null,
    good: decide(group, name, true, true, []),
  };
}

/**
 * Judges by what was prepared.
 * @param node its name, for references of one node alone
 */
export function appraiseAgainst(
  prepared: PreparedGroup,
  proven: Proven,
  node: string,
  circumstances: Circumstances,
  at: number,
): Verdict {
  const { group, policy, set, good } = prepared;
  if (group.tpm === 'absent') return unsupported(group, policy);
  const active = set.active.filter(({ expires }) => at < expires);
  const { boot, banks } = proven;
  const { findings, asReferenced } =
    boot === null
      ? judgeValues(prepared, active, banks, circumstances)
      : judgeLog({ ...prepared, active, node }, boot, banks);
  const { otherClass } = circumstances;
  const others = [
    circumstances.identified ? null : identityUnproven,
    otherClass === null ? null : otherTpmClass(group.tpmClass ?? [], otherClass),
    circumstances.denied ? deniedTpmFirmware(proven.firmwareVersion) : null,
    circumstances.kexec ? kexecFinding(boot?.state ?? null) : null,
  ].filter((finding) => finding !== null);
  if (asReferenced && findings.length + others.length === 0) return good;
  const identified = circumstances.identified && otherClass === null;
  return decide(group, policy, identified, asReferenced, [...others, ...findings]);
}

type JudgedBy = Pick<PreparedGroup, 'group' | 'set' | 'revocations'> & {
  readonly active: readonly PreparedReference[];
  readonly node: string;
};

function judgeLog(
  by: JudgedBy,
  boot: NonNullable<Proven['boot']>,
  banks: readonly QuotedBank[],
): BootJudgement {
  const vouched = vouchedBoot(boot, banks, by.group.boot);
  const revoked = revokedIn(by.set, vouched, banks);
  const { findings, asReferenced } = judgeBoot(vouched, banks, by);
  if (revoked === null) return { findings: [...problemsOf(boot), ...findings], asReferenced };
  const others = findings.filter(({ code }) => code !== 'no_reference');
  return { findings: [...problemsOf(boot), revokedReference(revoked, boot), ...others], asReferenced: false };
}

/** Without a log there are the values of PCRs, and references that name some. */
function judgeValues(
  { group, set }: PreparedGroup,
  active: readonly PreparedReference[],
  banks: readonly QuotedBank[],
  { sentBootLog }: Circumstances,
): BootJudgement {
  const findings: Finding[] = sentBootLog ? [bootLogGone] : [];
  const byValues = active.filter(({ strict }) => strict);
  const revoked = revokedIn(set, null, banks);
  const match = byValues.some((reference) => referenceMatches(reference, banks));
  const ruled = needsLog(group.boot);
  const enough = match && !ruled && group.boot.withoutLog === 'pcrs';
  if (revoked !== null) findings.push(revokedReference(revoked, null));
  else if (active.length === 0) findings.push(noReference(group));
  else if (!match && byValues.length > 0) findings.push(explainMismatch(byValues, banks, null));
  else if (!sentBootLog)
    findings.push(enough ? judgedWithoutLog : !match ? noLogToJudge : ruled ? noLogForRules : noBootLog);
  return { findings, asReferenced: enough && !sentBootLog && revoked === null };
}

/** What the policy knows to have no usable TPM alarms nobody, and is never trusted. */
function unsupported(group: PolicyGroup, policy: string): Verdict {
  return { ...decide(group, policy, false, false, []), state: 'unsupported', aspects: {} };
}
function decide(
  group: PolicyGroup,
  policy: string,
  identified: boolean,
  bootAsReferenced: boolean,
  findings: readonly Finding[],
): Verdict {
  const reasons = findings.map((finding) => weigh(finding, group));
  const result = (aspect: Aspect, proven: boolean): AspectResult => ({
    status: statusOf(
      reasons.filter((reason) => reason.aspect === aspect),
      proven,
    ),
    source: 'tpm',
  });
  const aspects = { identity: result('identity', identified), boot: result('boot', bootAsReferenced) };
  const broken = group.require.some((aspect) => aspects[aspect].status === 'contraindicated');
  const affirmed = group.require.every((aspect) => aspects[aspect].status === 'affirming');
  return {
    state: broken ? 'untrusted' : affirmed ? 'trusted' : 'pending',
    reasons: reasons.sort((a, b) => rank(a) - rank(b)),
    aspects,
    group: group.name,
    require: group.require,
    mode: group.mode,
    policy,
  };
}

/** What breaks the policy comes first: the first reason is the one that is shown beside the state. */
function rank(reason: Reason): number {
  if (breaksPolicy(reason)) return 0;
  return { fail: 1, warn: 2, info: 3 }[reason.severity];
}
