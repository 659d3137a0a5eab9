import type { Sequence } from '../policy/sequence.ts';
import type { Verdict } from '../protocol/verdict.ts';
import type { NodeStatus } from '../store/store.ts';
import type { Proven } from '../verify/proven.ts';
import type { Answer, AttestedNode } from './answer.ts';
import { rememberedOf } from './node-sequence.ts';

interface Judged {
  readonly answer: Answer;
  readonly proven: Proven;
  readonly previous: NodeStatus | null;
  /** Where its TPM is in time from now on. */
  readonly next: Sequence;
  readonly begun: 'rebooted' | 'resumed' | null;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Milliseconds. */
  readonly holdsFor: number;
  readonly systemUuid: string | null;
  readonly evidenceDigest: string;
}

/** What is known of a node once this answer is judged. */
export function nextStatus({ name, ekDigest }: AttestedNode, verdict: Verdict, judged: Judged): NodeStatus {
  const { answer, proven, previous, next, begun, at, holdsFor, systemUuid, evidenceDigest } = judged;
  return {
    ...{ name, ekDigest, state: verdict.state, verdict, verifiedAt: at, expiresAt: at + holdsFor },
    bootedAt: previous?.bootedAt == null || begun === 'rebooted' ? at : previous.bootedAt,
    ...rememberedOf(next, previous?.sequence ?? null),
    kernel: proven.facts?.host?.kernel ?? null,
    systemUuid,
    // Stays when a node leaves its log out: who once sent one is known to have one.
    bootLogDigest: answer.parts.boot?.digest ?? previous?.bootLogDigest ?? null,
    evidenceDigest,
  };
}
