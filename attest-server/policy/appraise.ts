import type { Reference } from '../protocol/reference.ts';
import type { TpmClass } from '../protocol/tpm-class.ts';
import type { Verdict } from '../protocol/verdict.ts';
import type { Proven } from '../verify/proven.ts';
import { saysKexecIsPossible } from './boot/kexec.ts';
import type { PreparedReference } from './boot/reference-set.ts';
import { goesByNode } from './boot/rules.ts';
import { groupOf, type Policy, type PolicyGroup } from './policy.ts';
import { appraiseAgainst, type PreparedGroup, prepareGroup } from './prepared-group.ts';
import { type Circumstances, type Remembered, recall, remember } from './remembered.ts';

export interface AppraisedNode {
  readonly name: string;
  /** The node has sent a boot log before: then a boot without one is `log_incomplete`. Default false. */
  readonly sentBootLog?: boolean;
  /** Of the node in its cluster, by which groups may choose. Default none. */
  readonly labels?: Readonly<Record<string, string>>;
  /** What its TPM is, by the word of a root. Default unknown. */
  readonly tpmClass?: TpmClass;
}

/** @param at milliseconds since the epoch; references expire by it */
export type Appraiser = (proven: Proven, node: AppraisedNode, at: number) => Verdict;

/** Compares one piece of proven evidence with policy and references. For many, make an appraiser once. */
export function appraise(
  proven: Proven,
  policy: Policy,
  node: AppraisedNode,
  references: readonly Reference[],
  at: number,
): Verdict {
  const prepared = prepareGroup(policy, groupOf(policy, node.name, node.labels), references);
  return appraiseAgainst(prepared, proven, node.name, circumstancesOf(prepared, proven, node), at);
}

/** What a verdict depends on besides what was measured. */
function circumstancesOf(
  { denied, group }: PreparedGroup,
  { ekDigest, facts, firmwareVersion }: Proven,
  { name, sentBootLog = false, tpmClass = 'unknown' }: AppraisedNode,
): Circumstances {
  return {
    sentBootLog,
    identified: ekDigest !== null,
    kexec: saysKexecIsPossible(facts),
    otherClass: group.tpmClass === null || group.tpmClass.includes(tpmClass) ? null : tpmClass,
    denied: denied.has(firmwareVersion),
    node: goesByNode(group.boot) ? name : null,
  };
}

interface KnownGroup extends PreparedGroup {
  readonly remembered: Map<string, Remembered>;
}

/**
 * Prepares policy and references, so that an appraisal is a comparison of bytes. Make a new one when either changes.
 * @param options.memo keep the verdict of PCR values and log seen before; default true
 */
export function createAppraiser(
  policy: Policy,
  references: readonly Reference[],
  options: { readonly memo?: boolean } = {},
): Appraiser {
  const memo = options.memo ?? true;
  const groups = new Map<PolicyGroup, KnownGroup>();
  const byName = new Map<string, KnownGroup>();
  // Labels change while a node keeps its name.
  const goesByName = policy.groups.every(({ labels }) => Object.keys(labels).length === 0);
  const groupFor = ({ name, labels }: AppraisedNode): KnownGroup => {
    const known = goesByName ? byName.get(name) : undefined;
    if (known !== undefined) return known;
    const group = groupOf(policy, name, labels);
    const prepared = groups.get(group) ?? {
      ...prepareGroup(policy, group, references),
      remembered: new Map<string, Remembered>(),
    };
    groups.set(group, prepared);
    if (byName.size >= mostNames) byName.clear();
    byName.set(name, prepared);
    return prepared;
  };
  return (proven, node, at) => {
    const group = groupFor(node);
    const circumstances = circumstancesOf(group, proven, node);
    if (!memo) return appraiseAgainst(group, proven, node.name, circumstances, at);
    const known = recall(group.remembered, proven, circumstances, at);
    if (known !== null) return known;
    const verdict = appraiseAgainst(group, proven, node.name, circumstances, at);
    remember(group.remembered, proven, circumstances, verdict, spanAround(group.set.active, at));
    return verdict;
  };
}

const mostNames = 65_536;

/** The time around `at` in which no reference expires. */
function spanAround(
  active: readonly PreparedReference[],
  at: number,
): readonly [from: number, until: number] {
  const times = active.map(({ expires }) => expires);
  return [
    Math.max(Number.NEGATIVE_INFINITY, ...times.filter((time) => time <= at)),
    Math.min(Number.POSITIVE_INFINITY, ...times.filter((time) => time > at)),
  ];
}
