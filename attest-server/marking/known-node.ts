import type { NodeToMark } from './judged-node.ts';
import type { Marks } from './marks.ts';
import type { MarksOnNode } from './marks-on-node.ts';
import type { ClusterNode } from './ports.ts';
import { Steadiness } from './steadiness.ts';

/** What the reconciler remembers of one Node while it runs. Moments are of a clock that nobody sets. */
export interface KnownNode {
  readonly uid: string;
  readonly steadiness: Steadiness;
  judged: NodeToMark | null;
  marks: Marks | null;
  /** The marks as they were when this server last looked at them, or left them; null before. */
  left: MarksOnNode | null;
  /** The Node as our latest write left it, until the watch has told it. */
  written: ClusterNode | null;
  /** When it was last written, and when only in other words. */
  wroteAt: number;
  minorAt: number;
  /** Nothing is written of it before; when it is looked at again by itself. */
  notBefore: number;
  dueAt: number;
  failures: number;
  /** How often in a row somebody changed our marks, and when last. */
  fights: number;
  foughtAt: number;
  /** When somebody last changed our marks, by the clock of the wall; null: nobody did. */
  tamperedAt: number | null;
  /** When the marks that somebody changed are put back; null where nobody did. */
  putBackAt: number | null;
  /** What was asked for when it last had what was asked; null before. */
  asked: string | null;
}

export function knownNode(uid: string): KnownNode {
  return {
    uid,
    steadiness: new Steadiness(),
    judged: null,
    marks: null,
    left: null,
    written: null,
    wroteAt: Number.NEGATIVE_INFINITY,
    minorAt: Number.NEGATIVE_INFINITY,
    notBefore: Number.NEGATIVE_INFINITY,
    dueAt: Number.POSITIVE_INFINITY,
    failures: 0,
    fights: 0,
    foughtAt: Number.NEGATIVE_INFINITY,
    tamperedAt: null,
    putBackAt: null,
    asked: null,
  };
}
