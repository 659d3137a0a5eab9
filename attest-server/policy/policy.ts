import { type Bound, enrolmentMethods } from '../protocol/enrolment-method.ts';
import type { ReasonCode } from '../protocol/reasons.ts';
import type { TpmClass } from '../protocol/tpm-class.ts';
import type { Severity, Verdict } from '../protocol/verdict.ts';
import { type AspectRules, type BuiltAspect, rulesOf } from './aspects.ts';
import { globMatches } from './glob.ts';

/** The methods by which a group's nodes may enrol. */
export const enrolments = enrolmentMethods;
export type Enrolment = Bound;
/** Those for which a server needs no cluster and no cloud. */
export const plainEnrolments: readonly Enrolment[] = ['pin', 'join-token', 'approval', 'first-use'];
/** What a policy that names no method allows: each of them needs somebody who vouches for this TPM. */
export const defaultEnrolments: readonly Enrolment[] = ['pin', 'join-token', 'approval'];

/** The rules of one group of nodes, beside those of each aspect. */
export interface GroupBase {
  readonly name: string;
  /** Globs on the node's name; the first group of the policy that matches applies. */
  readonly nodes: readonly string[];
  /** And on its labels, all of which must be as here. A node outside a cluster has none. */
  readonly labels: Readonly<Record<string, string>>;
  readonly mode: Verdict['mode'];
  /** `absent`: machines without a usable TPM; they are `unsupported`, never trusted, and alarm nobody. */
  readonly tpm: 'required' | 'absent';
  /** What a TPM must be, as the root that endorsed it says; null: whatever it is. */
  readonly tpmClass: readonly TpmClass[] | null;
  readonly enrolment: readonly Enrolment[];
  /** Never empty. */
  readonly require: readonly BuiltAspect[];
  /** Aspects that the TPM must vouch for: what the node merely says does not affirm them. */
  readonly vouched: readonly BuiltAspect[];
  /** Seconds after which a verdict is overdue; null: as the server is set. */
  readonly freshness: number | null;
  readonly severity: Readonly<Partial<Record<ReasonCode, Severity>>>;
}

export interface PolicyGroup extends GroupBase {
  readonly rules: AspectRules;
}

export interface Policy {
  readonly name: string;
  /** The first 12 hex digits of the SHA-256 of `text`. */
  readonly revision: string;
  readonly text: string;
  readonly groups: readonly PolicyGroup[];
}

/** What holds for a node that no group of a written policy matches: seen, and never trusted, since no reference is its. */
export const unmatched: PolicyGroup = {
  name: 'default',
  nodes: ['*'],
  labels: {},
  mode: 'observe',
  tpm: 'required',
  tpmClass: null,
  enrolment: defaultEnrolments,
  require: ['identity', 'boot'],
  vouched: [],
  rules: rulesOf({}),
  freshness: null,
  severity: {},
};

/** The group whose rules apply to a node: the first that matches its name and labels. */
export function groupOf(
  policy: Policy,
  node: string,
  labels: Readonly<Record<string, string>> = {},
): PolicyGroup {
  return policy.groups.find((group) => appliesTo(group, node, labels)) ?? unmatched;
}

/** Those by which a group of the policy chooses: the others are kept nowhere. */
export function labelsThatCount(
  { groups }: Policy,
  labels: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  if (Object.keys(labels).length === 0) return labels;
  const named = new Set(groups.flatMap((group) => Object.keys(group.labels)));
  return Object.fromEntries(Object.entries(labels).filter(([key]) => named.has(key)));
}

function appliesTo(group: PolicyGroup, node: string, labels: Readonly<Record<string, string>>): boolean {
  return (
    group.nodes.some((glob) => globMatches(glob, node)) &&
    Object.entries(group.labels).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value)
  );
}
