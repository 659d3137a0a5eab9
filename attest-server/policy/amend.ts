import type { AspectResult, Verdict } from '../protocol/verdict.ts';
import { breaksPolicy, type Finding, statusOf, weigh } from './finding.ts';
import type { PolicyGroup } from './policy.ts';

/** The verdict with more findings in it. They can make it worse, never better; without any it is the same object. */
export function amend(verdict: Verdict, findings: readonly Finding[], group: PolicyGroup): Verdict {
  // What policy knows to have no TPM can prove nothing, and alarms nobody.
  if (findings.length === 0 || group.tpm === 'absent') return verdict;
  // Where a TPM is in time is part of who it is: that weighs whether or not the group asks for it.
  const judging = { ...group, require: [...new Set([...group.require, 'identity' as const])] };
  const more = findings.map((finding) => weigh(finding, judging));
  const aspects = { ...verdict.aspects };
  for (const { aspect, severity, source } of more) {
    const before = aspects[aspect];
    if (severity !== 'fail' || before?.status === 'contraindicated') continue;
    const ofAspect = more.filter((reason) => reason.aspect === aspect);
    const result: AspectResult = { status: statusOf(ofAspect, false), source: before?.source ?? source };
    aspects[aspect] = result;
  }
  const required = more.filter(({ severity }) => severity === 'fail');
  const state =
    verdict.state === 'untrusted' || required.some(breaksPolicy)
      ? 'untrusted'
      : required.length > 0
        ? 'pending'
        : verdict.state;
  // What was broken before stays first only if nothing new is broken: the first reason is shown beside the state.
  const first = [...more, ...verdict.reasons].sort(
    (a, b) => Number(breaksPolicy(b)) - Number(breaksPolicy(a)),
  );
  return { ...verdict, state, aspects, reasons: first };
}
