import type { Reference } from '../protocol/reference.ts';
import type { Aspect, AspectResult, Reason, Verdict } from '../protocol/verdict.ts';
import type { Proven, QuotedBank } from '../verify/proven.ts';
import { explainMismatch } from './boot/mismatch.ts';
import {
  type PreparedReference,
  prepareReferences,
  type ReferenceSet,
  referenceMatches,
} from './boot/reference-set.ts';
import { breaksPolicy, type Finding, statusOf, weigh } from './finding.ts';
import {
  bootLogGone,
  identityUnproven,
  noBootLog,
  noReference,
  problemsOf,
  revokedReference,
} from './findings.ts';
import type { Policy, PolicyGroup } from './policy.ts';

export interface PreparedGroup {
  readonly group: PolicyGroup;
  readonly policy: string;
  readonly set: ReferenceSet;
  /** The verdict on a boot that matches, with its log, of a proven identity: nearly all of them. */
  readonly good: Verdict;
  /** The same without a log. */
  readonly withoutLog: Verdict;
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
    good: decide(group, name, true, true, []),
    withoutLog: decide(group, name, true, false, [noBootLog]),
  };
}

/** Judges by what was prepared. */
export function appraiseAgainst(
  prepared: PreparedGroup,
  proven: Proven,
  sentBootLog: boolean,
  at: number,
): Verdict {
  const { group, policy, set } = prepared;
  const { boot, banks } = proven;
  const match = anyMatches(set.active, banks, at);
  const revoked = set.revoked.find((reference) => referenceMatches(reference, banks));
  const identified = proven.ekDigest !== null;
  if (match && identified && revoked === undefined) {
    if (boot === null && !sentBootLog) return prepared.withoutLog;
    if (boot !== null && boot.problems.length === 0) return prepared.good;
  }
  const findings: Finding[] = identified ? [] : [identityUnproven];
  if (boot !== null) findings.push(...problemsOf(boot));
  else if (sentBootLog) findings.push(bootLogGone);
  if (revoked !== undefined) findings.push(revokedReference(revoked, boot));
  else if (!match) {
    const active = set.active.filter(({ expires }) => at < expires);
    findings.push(active.length === 0 ? noReference(group) : explainMismatch(active, banks, boot));
  }
  if (match && boot === null && !sentBootLog) findings.push(noBootLog);
  return decide(group, policy, identified, match && boot !== null && revoked === undefined, findings);
}

function anyMatches(active: readonly PreparedReference[], banks: readonly QuotedBank[], at: number): boolean {
  for (const reference of active)
    if (at < reference.expires && referenceMatches(reference, banks)) return true;
  return false;
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
