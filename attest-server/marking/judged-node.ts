import type { NodeStatus } from '../attest/ports.ts';
import { turnedByUs } from '../formats/our-change.ts';
import type { PolicyGroup } from '../policy/policy.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import type { NodeState, Reason, Verdict } from '../wire/verdict.ts';

/** Members of a group of the active policy that marking reads. */
export interface MarkedGroup extends Pick<PolicyGroup, 'name' | 'mode' | 'tpm' | 'require'> {
  /** The server is on trial. */
  readonly trial?: true;
}

/** A change that an update makes too, or that is ours: its taint may wait, by its code and value. */
export interface Drift {
  readonly code: ReasonCode;
  /** Stage and strongest digest, null if no one thing differs; or what of ours changed. */
  readonly value: string | null;
  /** Policy, references or server have changed, and by the earlier ones the node would not be tainted: a person decides. */
  readonly isOurs?: true;
}

/** The node that marks are made for, as it is shown at this moment, under the active policy. */
export interface NodeToMark {
  readonly group: MarkedGroup;
  readonly state: NodeState;
  /** The first reason; null if there is none. */
  readonly code: ReasonCode | null;
  readonly text: string | null;
  /** Of the TPM that it was judged by; null if no node of this name is enrolled. */
  readonly ekDigest: string | null;
  /** Null before the first verdict. */
  readonly verdict: Verdict | null;
  /** When it was last found trusted, in milliseconds since the epoch; null: never. */
  readonly trustedAt: number | null;
  /** Its current boot was never found trusted, not by the earlier rules either, and the TPM says that it is a new boot. */
  readonly isReproving: boolean;
  /** Set if nothing but drift counts against it, or nothing at all by the rules by which it was last trusted. */
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
  const state = isWithoutTpm(status, group) ? 'unsupported' : stateAsShown(status, group, now);
  const turned = turnedByUs(status?.trustedBy, state);
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
    isReproving:
      (state === 'pending' || (state === 'untrusted' && turned?.as === 'pending')) &&
      beganAnew(status, trustedAt),
    drift: turned === null ? driftOf(state, reasons) : ourChange(state, reasons, turned.by),
    since: status?.since ?? null,
    verifiedAt: status?.verifiedAt ?? null,
    bootedAt: status?.bootedAt ?? null,
    expiresAt: state === 'trusted' ? (status?.expiresAt ?? null) : null,
  };
}

/**
 * Whether the node counts as one without a TPM. One that proved itself here does so only once a policy that says so has
 * judged it: a slip of ours must not taint a fleet.
 */
function isWithoutTpm(status: NodeStatus | null, { tpm }: MarkedGroup): boolean {
  return tpm === 'absent' && (status?.trustedBy == null || status.state === 'unsupported');
}

/** Never green on missing data: a verdict past its end, or that asked for less than the policy does now, trusts nobody. */
function stateAsShown(status: NodeStatus | null, group: MarkedGroup, now: number): NodeState {
  if (status === null || status.verdict === null) return status?.state ?? 'pending';
  if (status.state === 'unsupported') return 'pending';
  if (group.tpm === 'absent') return 'unknown';
  if (status.state !== 'trusted') return status.state;
  const { require, trial } = status.verdict;
  const holds = status.expiresAt !== null && now <= status.expiresAt;
  // A verdict of a trial marks nothing once that is over: the next one is on its way.
  if (trial === true && group.trial !== true) return 'unknown';
  return holds && group.require.every((aspect) => require.includes(aspect)) ? 'trusted' : 'unknown';
}

/** Codes by which the TPM itself says that what runs is not what was proven. */
const beginnings: ReadonlySet<ReasonCode> = new Set(['rebooted', 'resumed', 'kexec_detected']);

function beganAnew(status: NodeStatus | null, trustedAt: number | null): boolean {
  if (status === null || trustedAt === null) return false;
  if (status.bootSeenAt !== null && status.bootSeenAt > trustedAt) return true;
  return status.verdict?.reasons.some(({ code }) => beginnings.has(code)) === true;
}

/** Whatever its class: of all that counts against it, the first is named. */
function ourChange(state: NodeState, reasons: readonly Reason[], by: string): Drift | null {
  if (state === 'unsupported') return { code: 'unsupported_tpm', value: by, isOurs: true };
  if (state !== 'untrusted' && state !== 'pending') return null;
  const code = reasons.find(({ severity }) => severity === 'fail')?.code ?? reasons[0]?.code;
  return code === undefined ? null : { code, value: by, isOurs: true };
}

/** All that counts against it must be drift: an attacker who changes the kernel as well hides behind no update. */
export function driftOf(state: NodeState, reasons: readonly Reason[]): Drift | null {
  if (state !== 'untrusted' && state !== 'pending') return null;
  const against = reasons.filter(({ severity }) => severity === 'fail');
  const [first] = against;
  if (first === undefined || against.some((reason) => reason.class !== 'drift')) return null;
  return { code: first.code, value: first.value ?? null };
}
