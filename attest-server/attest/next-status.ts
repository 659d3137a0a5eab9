import { type Appraisal, type BootTransition, overdueVerdict } from '../policy/appraise.ts';
import type { Proven } from '../verify/proven.ts';
import { type PartName, type Parts, partNames } from '../wire/evidence.ts';
import { outsideText } from '../wire/printable.ts';
import type { Verdict } from '../wire/verdict.ts';
import type { AttestedNode } from './answer.ts';
import { bootTimeOf } from './boot-time.ts';
import { rememberedOf } from './node-sequence.ts';
import type { NodeStatus } from './ports.ts';

interface JudgedAnswerParts {
  readonly parts: NodeStatus['parts'];
  readonly proven: Proven;
  readonly previous: NodeStatus | null;
  readonly next: Appraisal['next'];
  readonly begun: BootTransition['code'] | null;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Milliseconds. */
  readonly holdsFor: number;
  readonly systemUuid: string | null;
  readonly evidenceDigest: string;
  readonly trustedBy: NodeStatus['trustedBy'];
}

/** Status of a node once this answer is judged. */
export function nextStatus(
  { name, ekDigest }: AttestedNode,
  verdict: Verdict,
  judged: JudgedAnswerParts,
): NodeStatus {
  const { parts, proven, previous, next, begun, at, holdsFor, systemUuid, evidenceDigest, trustedBy } =
    judged;
  return {
    name,
    ekDigest,
    state: verdict.state,
    verdict,
    verifiedAt: at,
    expiresAt: at + holdsFor,
    // While it is trusted `verifiedAt` says it: an equal verdict moves that alone.
    trustedAt: verdict.state === 'trusted' ? (previous?.trustedAt ?? null) : lastTrusted(previous),
    ...bootTimeOf(proven, previous, begun, at),
    ...rememberedOf(next.sequence, previous?.sequence ?? null),
    kernel: kernelOf(proven),
    systemUuid,
    parts,
    memory: next.memory,
    evidenceDigest,
    recordedAt: previous?.recordedAt ?? null,
    recordedEvidence: previous?.recordedEvidence ?? null,
    repeats: previous?.repeats ?? 0,
    since: previous?.since ?? null,
    trustedBy,
  };
}

/** When the node was last found trusted, as far as it was until this status. */
export function lastTrusted(status: NodeStatus | null): number | null {
  return status?.state === 'trusted' ? status.verifiedAt : (status?.trustedAt ?? null);
}

/** The same once its verdict counts no more. @param verdict of it @param how as of `overdueVerdict` */
export function overdueStatus(
  stored: NodeStatus,
  verdict: Verdict,
  how: string | null = null,
): NodeStatus & { readonly verdict: Verdict } {
  const overdue = overdueVerdict(verdict, stored.verifiedAt, how);
  return { ...stored, state: overdue.state, verdict: overdue, trustedAt: lastTrusted(stored) };
}

/** Only what counts gets too old. */
export function counts({ state }: NodeStatus): boolean {
  return state === 'trusted' || state === 'pending';
}

/** Who once sent a part is known to have one. */
export function sentBefore(previous: NodeStatus | null): readonly PartName[] {
  return previous === null ? [] : partNames.filter((name) => previous.parts[name] !== undefined);
}

/** In the node's own words. */
function kernelOf({ facts }: Proven): string | null {
  const kernel = facts?.host?.kernel;
  return kernel === undefined ? null : outsideText(kernel);
}

/** Parts that the node shows, with the supplements that explain them. A part that is left out stays: a node that once sent it has one. */
export function partsShown(before: NodeStatus['parts'], parts: Parts): NodeStatus['parts'] {
  let latest: Partial<Record<PartName, string>> | null = null;
  for (const name of partNames) {
    const digest = parts[name]?.digest;
    if (digest === undefined || digest === before[name]) continue;
    latest ??= { ...before };
    latest[name] = digest;
  }
  return latest ?? before;
}
