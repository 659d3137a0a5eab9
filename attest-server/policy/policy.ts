import { type EnrolmentMethod, enrolmentMethods } from '../formats/enrolment-method.ts';
import { type AspectRules, type BuiltAspect, rulesOf, shownRules } from './aspects.ts';
import { globMatches } from './glob.ts';
import type { GroupBase } from './group.ts';

/** The methods by which a group's nodes may enrol. */
export const enrolments = enrolmentMethods;
/** Methods for which a server needs no cluster and no cloud. */
export const plainEnrolments: readonly EnrolmentMethod[] = ['pin', 'join-token', 'approval', 'first-use'];
/** The methods of a policy that names none: each of them needs somebody who vouches for this TPM. */
export const defaultEnrolments: readonly EnrolmentMethod[] = ['pin', 'join-token', 'approval'];

export interface PolicyGroup extends GroupBase {
  readonly require: readonly BuiltAspect[];
  readonly vouched: readonly BuiltAspect[];
  readonly rules: AspectRules;
}

export interface Policy {
  readonly name: string;
  /** The first 12 hex digits of the SHA-256 of `text`. */
  readonly revision: string;
  readonly text: string;
  readonly groups: readonly PolicyGroup[];
  /** The server that judges by it is on trial: `underTrial` made it. */
  readonly trial?: true;
}

/**
 * A policy as a server on trial holds it: no group marks anything, and each verdict says that it is of a trial. Whatever answers
 * may be a software TPM, whose keys are files.
 */
export function underTrial(policy: Policy): Policy {
  return { ...policy, trial: true, groups: policy.groups.map((group) => ({ ...group, mode: 'observe' })) };
}

/** The gate of a policy that says nothing of it. */
export const holdsWithoutEnd: GroupBase['gate'] = { timeout: null, onTimeout: 'hold' };

/** The group of a node that no group of a written policy matches: seen, and never trusted, since no reference is its. */
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
  gate: holdsWithoutEnd,
  severity: {},
};

/** The group whose rules apply to a node: the first that matches its name and labels. */
export function groupOf(
  policy: Pick<Policy, 'groups'>,
  node: string,
  labels: Readonly<Record<string, string>> = {},
): PolicyGroup {
  return policy.groups.find((group) => appliesTo(group, node, labels)) ?? unmatched;
}

/** The labels by which some group of the policy chooses: of a node the others are kept nowhere. */
export function labelsThatCount({ groups }: Policy): ReadonlySet<string> {
  return new Set(groups.flatMap(({ labels }) => Object.keys(labels)));
}

/** As a file has it, defaults filled in: the rules of an aspect stand under its name, where it has any. */
export function shownGroup({ rules, ...group }: PolicyGroup): object {
  return { ...group, ...shownRules(rules) };
}

function appliesTo(group: PolicyGroup, node: string, labels: Readonly<Record<string, string>>): boolean {
  return (
    group.nodes.some((glob) => globMatches(glob, node)) &&
    Object.entries(group.labels).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value)
  );
}
