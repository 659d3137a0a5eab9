import type { Reason } from '../wire/verdict.ts';

type FoldedReason = Pick<
  Reason,
  'code' | 'aspect' | 'severity' | 'expected' | 'actual' | 'evidence' | 'reference' | 'detail'
>;

/** A reason, and those that would not be there without it. */
export interface FoldedCause<R> {
  readonly cause: R;
  readonly follows: readonly R[];
}

/**
 * The declared relation: whether one reason follows from another. Two that are each other's are one cause, told by the first.
 */
function followsFrom(one: FoldedReason, cause: FoldedReason): boolean {
  return relations.some((relates) => relates(one, cause));
}

const relations: readonly ((one: FoldedReason, cause: FoldedReason) => boolean)[] = [
  // What could not be read leaves open whatever needs it.
  (one, cause) =>
    isUnread(one) &&
    isUnread(cause) &&
    one.actual !== null &&
    one.actual === cause.actual &&
    (one.aspect === cause.aspect || one.expected === cause.expected),
  // A log that does not fit fails to in one PCR after the other.
  (one, cause) => ofLog.has(one.code) && ofLog.has(cause.code) && isOfOneLog(one, cause),
  // What differs from the reference is what opens, or takes a chain away.
  (one, cause) =>
    cause.code === 'fw_drift' &&
    ofRules.has(one.code) &&
    (one.reference === undefined ? isLetInBy(one, cause) : one.reference === cause.reference),
];

const ofLog: ReadonlySet<Reason['code']> = new Set([
  'log_replay_mismatch',
  'log_incomplete',
  'bank_mismatch',
]);
const ofRules: ReadonlySet<Reason['code']> = new Set(['fw_policy_open', 'fw_missing_chain']);

function isUnread({ code }: FoldedReason): boolean {
  return code === 'facts_unavailable' || code === 'fw_unreadable';
}

function isOfOneLog({ evidence: one }: FoldedReason, { evidence: other }: FoldedReason): boolean {
  return one !== null && one.digest === other?.digest;
}

/** A policy may forbid what the reference lets in, too: only a rule that came shows the difference. */
function isLetInBy({ detail: ways = [] }: FoldedReason, { detail: changed = [] }: FoldedReason): boolean {
  let chain = '';
  return changed.some((line) => {
    chain = /^@@ (?:new )?(.*) @@$/.exec(line)?.[1] ?? chain;
    return line.startsWith('+ ') && ways.includes(`  ${chain}: ${line.slice(2)}`);
  });
}

const weight = { fail: 2, warn: 1, info: 0 } as const;

/**
 * Reasons by their causes, in the order of the reasons; none is left out. What weighs more than its cause stands for itself.
 */
export function foldedReasons<R extends FoldedReason>(reasons: readonly R[]): readonly FoldedCause<R>[] {
  const causeOf = (one: R) =>
    reasons.find(
      (cause, at) =>
        cause !== one &&
        weight[one.severity] <= weight[cause.severity] &&
        followsFrom(one, cause) &&
        (at < reasons.indexOf(one) || !followsFrom(cause, one)),
    );
  const groups = new Map<R, R[]>();
  for (const one of reasons) {
    let cause = one;
    for (let next = causeOf(cause); next !== undefined; next = causeOf(cause)) cause = next;
    const its = groups.get(cause) ?? [];
    groups.set(cause, its);
    if (cause !== one) its.push(one);
  }
  return [...groups].map(([cause, follows]) => ({ cause, follows }));
}
