import type { NodeToMark } from './judged-node.ts';
import type { Marks } from './marks.ts';
import type { MarksOnNode } from './marks-on-node.ts';
import type { ClusterNode } from './ports.ts';
import { Steadiness } from './steadiness.ts';

/** The reconciler's memory of one Node while it runs. Moments are monotonic milliseconds. */
export class KnownNode {
  readonly uid: string;
  readonly steadiness: Steadiness;
  judged: NodeToMark | null;
  marks: Marks | null = null;
  /** The marks as this server last left or found them; null before. */
  lastApplied: MarksOnNode | null = null;
  /** The Node as our latest write left it, until the watch reports it. */
  written: ClusterNode | null = null;
  /** When it was last written, and when only in other words. */
  wroteAt = Number.NEGATIVE_INFINITY;
  minorAt = Number.NEGATIVE_INFINITY;
  /** When it is reconciled again by itself. */
  dueAt = Number.POSITIVE_INFINITY;
  /** Marks that were asked for when it last had all of them; null before. */
  asked: string | null = null;

  /** A Node that is created again is the same machine: its history stays with it. */
  constructor(uid: string, before: KnownNode | undefined) {
    this.uid = uid;
    this.steadiness = before?.steadiness ?? new Steadiness();
    this.judged = before?.judged ?? null;
  }
}

/** For which our own write counts although the watch has not reported it. */
const staleFor = 30_000;

/** The Node as the watch reported it, or as we left it if the watch is behind. */
export function observed(
  told: ClusterNode | null,
  known: KnownNode | undefined,
  at: number,
): ClusterNode | null {
  if (told === null || known?.written == null) return told;
  const { written, wroteAt } = known;
  if (told.uid === written.uid && isOlder(told, written) && at < wroteAt + staleFor) return written;
  known.written = null;
  return told;
}

function isOlder(told: ClusterNode, written: ClusterNode): boolean {
  const [a, b] = [told.resourceVersion, written.resourceVersion];
  // They are counters in all that is known, though no client is to rely on it: else for a while at most.
  return /^\d{1,20}$/.test(a) && /^\d{1,20}$/.test(b) ? BigInt(a) < BigInt(b) : a !== b;
}
