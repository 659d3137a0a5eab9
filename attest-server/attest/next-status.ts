import type { SequenceJudgement } from '../policy/boot-sequence.ts';
import type { Verdict } from '../protocol/verdict.ts';
import type { Proven } from '../verify/proven.ts';
import type { Answer, AttestedNode } from './answer.ts';
import { rememberedOf } from './node-sequence.ts';
import type { NodeStatus } from './ports.ts';

interface Judged {
  readonly answer: Answer;
  readonly proven: Proven;
  readonly previous: NodeStatus | null;
  readonly sequence: SequenceJudgement;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Milliseconds. */
  readonly holdsFor: number;
  readonly systemUuid: string | null;
  readonly evidenceDigest: string;
  /** Digest of what user space measured, where it was sent. */
  readonly userSpace: string | null;
}

/** What is known of a node once this answer is judged. */
export function nextStatus({ name, ekDigest }: AttestedNode, verdict: Verdict, judged: Judged): NodeStatus {
  const { answer, proven, previous, sequence, at, holdsFor, systemUuid, evidenceDigest, userSpace } = judged;
  return {
    name,
    ekDigest,
    state: verdict.state,
    verdict,
    verifiedAt: at,
    expiresAt: at + holdsFor,
    bootedAt: previous?.bootedAt == null || sequence.begun === 'rebooted' ? at : previous.bootedAt,
    ...rememberedOf(sequence.next, previous?.sequence ?? null),
    kernel: proven.facts?.host?.kernel ?? null,
    systemUuid,
    parts: partsOf(previous?.parts ?? {}, answer.evidence.bootLog, userSpace),
    memory: previous?.memory ?? {},
    evidenceDigest,
    recordedAt: previous?.recordedAt ?? null,
    repeats: previous?.repeats ?? 0,
  };
}

/** A part stays when a node leaves it out: who once sent one is known to have one. */
function partsOf(
  before: NodeStatus['parts'],
  boot: string | null,
  userSpace: string | null,
): NodeStatus['parts'] {
  const parts = { ...before };
  if (boot !== null) parts.boot = boot;
  if (userSpace !== null) parts.userSpace = userSpace;
  return parts;
}
