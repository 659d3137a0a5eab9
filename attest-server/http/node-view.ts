import type { HistoryView } from '../api/api.ts';
import type { NextBootView, NodeView, ReasonView, ShownTransition } from '../api/node-api.ts';
import type { HistoryEntry, NodeStatus } from '../attest/ports.ts';
import type { EnrolledNode } from '../enrolment/ports.ts';
import type { UnsupportedNode } from '../enrolment/without-tpm.ts';
import { turnedByUs } from '../formats/our-change.ts';
import { type FaultCause, faultText } from '../formats/server-fault.ts';
import { overdueText } from '../formats/silence.ts';
import type { Absence } from '../presence/ports.ts';
import type { NextBoot } from '../references/next-boots.ts';
import { classOf, type ReasonCode } from '../wire/reasons.ts';
import type { NodeState, Reason } from '../wire/verdict.ts';

/** A node as people and scripts see it. @param fault as in `nodeStanding` */
export function nodeView(
  status: NodeStatus | null,
  enrolled: EnrolledNode,
  now: number,
  fault: FaultCause | null,
): NodeView {
  const verdict = status?.verdict ?? null;
  const standing = nodeStanding(status, enrolled, now, fault);
  const overdue = isOverdue(status, now);
  return {
    name: standing.name,
    state: standing.state,
    reason: standing.reason,
    reasons: standing.reasons,
    aspects: standing.aspects,
    bootedAt: rfc3339(status?.bootedAt ?? null),
    verifiedAt: rfc3339(status?.verifiedAt ?? null),
    trustedAt: standing.trustedAt,
    ourChange: standing.ourChange,
    expiresAt: rfc3339(status?.expiresAt ?? null),
    group: verdict?.group ?? null,
    tpm: tpmOf(enrolled.manufacturer, status?.firmwareVersion ?? null),
    kernel: status?.kernel ?? null,
    policy: verdict?.policy ?? null,
    require: standing.require,
    mode: verdict?.mode ?? null,
    bound: enrolled.bound,
    tpmClass: enrolled.tpmClass,
    ...unsaid,
    trial: verdict?.trial === true || enrolled.trial === true,
    bootSeenAt: rfc3339(status?.bootSeenAt ?? null),
    evidence: status?.recordedEvidence ?? null,
    since: rfc3339(overdue ? (status?.expiresAt ?? null) : sinceOf(status, enrolled)),
    enrolledAt: rfc3339(enrolled.enrolledAt),
    enrolledBy: enrolled.enrolledBy,
    ek: enrolled.ekDigest,
    endorsedBy: enrolled.endorsedBy,
  };
}

/** How it is with a node. */
export type NodeStanding = Pick<
  NodeView,
  | 'name'
  | 'state'
  | 'reason'
  | 'reasons'
  | 'aspects'
  | 'require'
  | 'trustedAt'
  | 'ourChange'
  | 'missingSince'
  | 'connectedAt'
  | 'disconnected'
  | 'kubeletReady'
  | 'claimed'
>;

/**
 * How it is with a node, and nothing besides: metrics ask it of all nodes at once. A verdict counts until it expires; a node that
 * is trusted on anything less than a verdict that says so and still counts is shown as `unknown`: never green on missing data.
 * @param fault why the node's latest answer came to nothing, where that was a fault of the server
 */
export function nodeStanding(
  status: NodeStatus | null,
  enrolled: EnrolledNode,
  now: number,
  fault: FaultCause | null,
): NodeStanding {
  const verdict = status?.verdict ?? null;
  const state = status?.state ?? 'pending';
  const overdue = isOverdue(status, now);
  const evidence = status?.recordedEvidence ?? null;
  const parts = Object.values(status?.parts ?? {});
  const late = () => (fault === null ? overdueReason(status?.verifiedAt ?? null) : faultReason(fault));
  const stored = verdict?.reasons.find(({ code }) => code === 'evidence_overdue');
  const reasons = (verdict?.reasons ?? [])
    .filter((reason) => reason !== stored)
    .map((reason) =>
      // What stands against a node since an earlier answer is not in the latest one.
      shown(reason, reason.evidence !== null && parts.includes(reason.evidence.digest) ? evidence : null),
    );
  const held = status?.sequence?.held ?? null;
  if (verdict === null && state === 'unknown' && held !== null) reasons.unshift(unreadable(held));
  else if (verdict === null && state === 'pending') reasons.unshift(fault === null ? notYetProven : late());
  else if (overdue || stored !== undefined)
    reasons.unshift(fault === null && stored !== undefined ? shown(stored, null) : late());
  return {
    name: enrolled.name,
    state: overdue ? 'unknown' : state,
    reason: reasons[0]?.code ?? null,
    reasons,
    aspects: aspectsOf(verdict?.aspects ?? {}, overdue || state === 'unknown'),
    require: [...(verdict?.require ?? [])],
    trustedAt: rfc3339((state === 'trusted' ? status?.verifiedAt : status?.trustedAt) ?? null),
    ourChange: turnedByUs(status?.trustedBy, overdue ? 'unknown' : state)?.change ?? null,
    missingSince: null,
    connectedAt: null,
    disconnected: null,
    kubeletReady: null,
    claimed: false,
  };
}

/** The view with since when the node is away. */
export function withAbsence(view: NodeView, absence: Absence | null): NodeView {
  if (absence === null) return view;
  const { missingSince, goneAt } = absence;
  return { ...view, missingSince: rfc3339(missingSince), goneSince: rfc3339(goneAt) };
}

/** Null if only an earlier program knew it. */
function sinceOf(status: NodeStatus | null, { enrolledAt }: EnrolledNode): number | null {
  if (status === null) return enrolledAt;
  return status.since ?? (status.verdict === null && status.state === 'pending' ? enrolledAt : null);
}

/** Nobody of this name is enrolled; what is known is that somebody came under it. */
export function pendingView(name: string): NodeView {
  return { ...neverProven, name, state: 'pending' };
}

/** A machine of a kind that has no TPM by the policy: never trusted, yet without fault. */
export function unsupportedView({ name, group, mode, policy }: UnsupportedNode): NodeView {
  return {
    ...neverProven,
    name,
    state: 'unsupported',
    reason: noTpm.code,
    reasons: [noTpm],
    group,
    policy,
    mode,
  };
}

/** Members of a view beyond the record and the status of its node. */
const unsaid = {
  address: null,
  connectedAt: null,
  agent: null,
  heardAt: null,
  disconnected: null,
  kubeletReady: null,
  trial: false,
  references: [],
  claims: [],
  claimed: false,
  exemption: null,
  turned: null,
  marks: null,
  missingSince: null,
  goneSince: null,
  transitions: [],
  refusedKeys: [],
  nextBoot: null,
};

const neverProven: Omit<NodeView, 'name' | 'state'> = {
  reason: null,
  reasons: [],
  aspects: {},
  bootedAt: null,
  verifiedAt: null,
  trustedAt: null,
  ourChange: null,
  expiresAt: null,
  tpm: null,
  kernel: null,
  bound: null,
  group: null,
  policy: null,
  require: [],
  mode: null,
  tpmClass: 'unknown',
  bootSeenAt: null,
  evidence: null,
  since: null,
  enrolledAt: null,
  enrolledBy: null,
  ek: null,
  endorsedBy: null,
  ...unsaid,
};

export function historyEntryView({
  node,
  at,
  verdict,
  transition,
  repeats,
  since,
  evidenceDigest,
  flaps,
}: HistoryEntry): HistoryView {
  return {
    node,
    at: new Date(at).toISOString(),
    state: verdict.state,
    reason: verdict.reasons[0]?.code ?? null,
    reasons: verdict.reasons.map((reason) => shown(reason, evidenceDigest)),
    policy: verdict.policy,
    trial: verdict.trial === true,
    transition,
    repeats,
    since: new Date(since).toISOString(),
    flaps: flaps ?? null,
    evidence: evidenceDigest,
  };
}

export function transitionView({ at, verdict: { state, reasons } }: HistoryEntry): ShownTransition {
  return { at: new Date(at).toISOString(), state, reason: reasons[0]?.code ?? null };
}

/** Whole: the route checks what it answers. */
export function shownNextBoot(nextBoot: NextBoot | undefined): NextBootView | null {
  return nextBoot === undefined
    ? null
    : { ...nextBoot, causes: nextBoot.causes.map((cause) => ({ ...cause })) };
}

function isOverdue(status: NodeStatus | null, now: number): boolean {
  return status?.state === 'trusted' && !stillCounts(status, now);
}

function stillCounts(status: NodeStatus | null, now: number): boolean {
  const says: NodeState | undefined = status?.verdict?.state;
  const expiresAt = status?.expiresAt ?? null;
  return says === 'trusted' && expiresAt !== null && now < expiresAt && status?.verdict?.require.length !== 0;
}

/** Old evidence affirms nothing: what it once affirmed is not shown as if it still did. */
function aspectsOf(aspects: NodeView['aspects'], overdue: boolean): NodeView['aspects'] {
  if (!overdue) return { ...aspects };
  return Object.fromEntries(
    Object.entries(aspects).map(([aspect, { source }]) => [aspect, { status: 'none', source }]),
  );
}

/** Of what the server observes itself. */
export const fromServer = {
  aspect: 'identity',
  source: 'server',
  class: 'service',
  severity: 'fail',
  expected: null,
  actual: null,
  evidence: null,
} as const;

function overdueReason(verifiedAt: number | null): ReasonView {
  return {
    ...fromServer,
    code: 'evidence_overdue',
    expected: 'a fresh quote',
    actual: verifiedAt === null ? null : `the last one of ${new Date(verifiedAt).toISOString()}`,
    text: overdueText(null),
  };
}

/** Shown in place of `evidence_overdue`, and never stored. */
function faultReason(cause: FaultCause): ReasonView {
  const what = cause === 'internal' ? '' : 'nothing can be stored, because ';
  return {
    ...fromServer,
    code: 'server_fault',
    text: `The node answers, but the server could not judge or store its answer: ${what}${faultText(cause)}. The node is not at fault.`,
  };
}

const noTpm: ReasonView = {
  ...fromServer,
  severity: 'info',
  code: 'unsupported_tpm',
  text: 'The policy says that machines of this group have no usable TPM.',
};

const notYetProven: ReasonView = {
  ...fromServer,
  code: 'enrolment_pending',
  text: 'The node is enrolled, but has not been judged yet.',
};

/** Of a status that nobody can read: what was held against its TPM is not known. */
function unreadable(code: ReasonCode): ReasonView {
  return {
    ...fromServer,
    code,
    class: classOf(code),
    text: 'What was known of the node cannot be read in the database of the server, so that its TPM is held until a person approves its key again.',
  };
}

/** @param bundle digest of the evidence that has the part which the reason cites */
function shown(reason: Reason, bundle: string | null): ReasonView {
  const { evidence } = reason;
  return { ...reason, evidence: evidence && { ...evidence, bundle } };
}

function tpmOf(manufacturer: string | null, firmwareVersion: string | null): string | null {
  if (manufacturer === null && firmwareVersion === null) return null;
  const firmware = firmwareVersion === null ? [] : [`firmware ${firmwareVersion}`];
  return [...(manufacturer === null ? [] : [manufacturer]), ...firmware].join(' ');
}

export function rfc3339(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}
