import type { NodeStatus } from '../attest/ports.ts';
import type { PolicyGroup } from '../policy/policy.ts';
import type { ReasonCode } from '../protocol/reasons.ts';
import type { NodeState, Reason, Verdict } from '../protocol/verdict.ts';

/** What marking reads of a group of the policy in force. */
export type MarkedGroup = Pick<PolicyGroup, 'name' | 'mode' | 'tpm' | 'require'>;

/** A change that an update makes too: its taint may wait, by its code and value. */
export interface Drift {
  readonly code: ReasonCode;
  /** Stage and strongest digest; null where no one thing differs. */
  readonly value: string | null;
}

/** What marks are made from: a node as it is shown at this moment, under the policy that is in force now. */
export interface NodeToMark {
  readonly group: MarkedGroup;
  readonly state: NodeState;
  /** The first reason; null where there is none. */
  readonly code: ReasonCode | null;
  readonly text: string | null;
  /** Of the TPM that it was judged by; null where no node of this name is enrolled. */
  readonly ekDigest: string | null;
  /** Null before the first verdict. */
  readonly verdict: Verdict | null;
  /** When it was last found trusted, in milliseconds since the epoch; null: never. */
  readonly trustedAt: number | null;
  /** Its current boot was never found trusted, and the TPM says that it began anew. */
  readonly isReproving: boolean;
  /** Set where nothing but drift counts against it. */
  readonly drift: Drift | null;
  /** Since when it is in this state; the latest proof. Milliseconds since the epoch; null before the first. */
  readonly since: number | null;
  readonly verifiedAt: number | null;
  readonly bootedAt: number | null;
  /** Until when a trusted verdict holds; else null. */
  readonly expiresAt: number | null;
}

/** @param status null: no node of this name is enrolled, or none has a verdict */
export function judgedNode(status: NodeStatus | null, group: MarkedGroup, now: number): NodeToMark {
  const verdict = status?.verdict ?? null;
  const state = group.tpm === 'absent' ? 'unsupported' : stateAsShown(status, group, now);
  const reasons = verdict?.reasons ?? [];
  const isStale = status !== null && state !== status.state;
  const [first] = isStale ? [] : reasons;
  const trustedAt = (status?.state === 'trusted' ? status.verifiedAt : status?.trustedAt) ?? null;
  return {
    group,
    state,
    code: first?.code ?? (isStale && state === 'unknown' ? 'evidence_overdue' : null),
    text: first?.text ?? null,
    ekDigest: status?.ekDigest ?? null,
    verdict,
    trustedAt,
    isReproving: state === 'pending' && beganAnew(status, trustedAt),
    drift: driftOf(state, reasons),
    since: status?.since ?? null,
    verifiedAt: status?.verifiedAt ?? null,
    bootedAt: status?.bootedAt ?? null,
    expiresAt: state === 'trusted' ? (status?.expiresAt ?? null) : null,
  };
}

/** Never green on missing data: a verdict past its end, or that asked for less than the policy does now, trusts nobody. */
function stateAsShown(status: NodeStatus | null, group: MarkedGroup, now: number): NodeState {
  if (status === null || status.verdict === null) return status?.state ?? 'pending';
  if (status.state === 'unsupported') return 'pending';
  if (status.state !== 'trusted') return status.state;
  const { require } = status.verdict;
  const holds = status.expiresAt !== null && now <= status.expiresAt;
  return holds && group.require.every((aspect) => require.includes(aspect)) ? 'trusted' : 'unknown';
}

/** Codes by which the TPM itself says that what runs is not what was proven. */
const beginnings: ReadonlySet<ReasonCode> = new Set(['rebooted', 'resumed', 'kexec_detected']);

function beganAnew(status: NodeStatus | null, trustedAt: number | null): boolean {
  if (status === null || trustedAt === null) return false;
  if (status.bootSeenAt !== null && status.bootSeenAt > trustedAt) return true;
  return status.verdict?.reasons.some(({ code }) => beginnings.has(code)) === true;
}

/** All that counts against it must be drift: an attacker who changes the kernel as well hides behind no update. */
export function driftOf(state: NodeState, reasons: readonly Reason[]): Drift | null {
  if (state !== 'untrusted' && state !== 'pending') return null;
  const against = reasons.filter(({ severity }) => severity === 'fail');
  const [first] = against;
  if (first === undefined || against.some((reason) => reason.class !== 'drift')) return null;
  return { code: first.code, value: first.value ?? null };
}
