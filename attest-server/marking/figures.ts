import type { BreakerScope, Doubt, Suppression, WrongResource } from '../formats/marking.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import type { Mode } from '../wire/verdict.ts';
import type { AdmissionGap } from './admission-gaps.ts';
import type { Breaker } from './breaker.ts';
import { hasMarks } from './marks.ts';
import type { Reconciler } from './reconciler.ts';

/** How it goes with the marks, for metrics. */
export interface MarkingFigures {
  /** Nodes that wait to be marked. */
  readonly queue: number;
  readonly isLeader: boolean;
  /** Nodes by the mode of their group. */
  readonly modes: ReadonlyMap<Mode, number>;
  /** Nodes that lack a mark for a reason. */
  readonly waiting: ReadonlyMap<Suppression, number>;
  /** Nodes that lack a mark, or have one too many, for none. */
  readonly wrong: number;
  /** Resources of Nodes that are not as they should be, by what they show. */
  readonly wrongResources: ReadonlyMap<WrongResource, number>;
  readonly open: ReadonlySet<BreakerScope>;
  /** By code: the most nodes of one group that fail the same way within ten minutes, if that opens the breaker. */
  readonly mass: ReadonlyMap<ReasonCode, number>;
  /** How admission may let others change what this server writes. */
  readonly gaps: readonly AdmissionGap[];
}

export function figuresOf(
  reconciler: Pick<Reconciler, 'names' | 'shown' | 'queue' | 'publication'>,
  breaker: Pick<Breaker, 'failing'>,
  doubts: readonly Doubt[],
  isLeader: boolean,
  at: number,
): Omit<MarkingFigures, 'gaps'> {
  const modes = new Map<Mode, number>();
  const waiting = new Map<Suppression, number>();
  let wrong = 0;
  for (const name of reconciler.names()) {
    const shown = reconciler.shown(name);
    if (shown === null) continue;
    const { marks, judged, observed } = shown;
    const { mode } = judged.group;
    modes.set(mode, (modes.get(mode) ?? 0) + 1);
    if (marks.suppressed !== null) waiting.set(marks.suppressed, (waiting.get(marks.suppressed) ?? 0) + 1);
    if (!hasMarks(observed, marks)) wrong += 1;
  }
  const failing = breaker.failing(at);
  const open = new Set<BreakerScope>(doubts);
  if (waiting.has('breaker') || waiting.has('standing_cap')) open.add('drift');
  if (waiting.has('our_change')) open.add('our_change');
  const mass = new Map<ReasonCode, number>();
  for (const { code, nodes, isMass } of failing)
    if (isMass) mass.set(code, Math.max(mass.get(code) ?? 0, nodes));
  const { publication, queue } = reconciler;
  const wrongResources = publication.countWrong();
  return { queue: queue.length, isLeader, modes, waiting, wrong, wrongResources, open, mass };
}
