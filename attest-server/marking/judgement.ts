import type { TaintKeys } from '../formats/marks.ts';
import type { Breaker } from './breaker.ts';
import type { Doubts } from './doubts.ts';
import { judgedNode, type MarkedGroup, type NodeToMark } from './judged-node.ts';
import type { KnownNode } from './known-node.ts';
import { type Marks, marksFor, sparedAs } from './marks.ts';
import { marksOn } from './marks-on-node.ts';
import type { Clock, ClusterNode, CommittedVerdicts, Decisions } from './ports.ts';

/** Verdict on a Node, and the marks that it is to carry. */
export interface MarkJudgement {
  readonly judged: NodeToMark;
  readonly marks: Marks;
}

export interface JudgementParts extends Pick<Clock, 'now' | 'monotonic'> {
  readonly committed: Pick<CommittedVerdicts, 'status'>;
  readonly decisions: Pick<Decisions, 'exemption' | 'pause'>;
  /** The group of the policy in force. */
  readonly groupOf: (node: string, labels: ClusterNode['labels']) => MarkedGroup;
  readonly breaker: Pick<Breaker, 'doubt' | 'forget' | 'set' | 'delayOf'>;
  readonly doubts: Pick<Doubts, 'look' | 'now'>;
  readonly keys: TaintKeys;
  readonly ownNode: string | null;
}

/** Judges a Node at this moment, by all that was committed and decided; the breaker learns of it. */
export function judge(
  node: ClusterNode,
  { steadiness, judged: before }: Pick<KnownNode, 'steadiness' | 'judged'>,
  { committed, decisions, groupOf, breaker, doubts, keys, ownNode, now, monotonic }: JudgementParts,
): MarkJudgement {
  const { name } = node;
  const [at, wall] = [monotonic(), now()];
  doubts.look(wall, at);
  breaker.doubt(doubts.now(at).length > 0);
  const judged = judgedNode(committed.status(name), groupOf(name, node.labels), wall);
  const { group, drift, state, since, ekDigest, trustedAt } = judged;
  steadiness.note(state === 'trusted', at);
  const exemption = decisions.exemption(name);
  const isWithoutTpm = state === 'unsupported' && drift === null;
  if (judged.verdict === null || sparedAs(node, ownNode) !== null || isWithoutTpm) breaker.forget(name);
  else {
    const isOn = group.mode === 'enforce' && exemption === null;
    breaker.set(
      name,
      {
        group,
        drift,
        isTainted: isTainted(node, judged, keys),
        mayBeTainted: isOn && (state !== 'pending' || judged.isReproving),
        ekDigest,
        trustedAt,
      },
      at,
      before === null && since !== null ? Math.min(at, at - (wall - since)) : at,
    );
  }
  const marks = marksFor(judged, node, {
    keys,
    paused: decisions.pause() !== null,
    exemption,
    delay: breaker.delayOf(name, at),
    isSettling: steadiness.settlesAt(at) !== null,
    ownNode,
  });
  return { judged, marks };
}

/** Whether it carries the taint of drift that its state asks for. */
export function isTainted(node: ClusterNode, { drift, state }: NodeToMark, keys: TaintKeys): boolean {
  const desired = state === 'pending' ? keys.reproving : keys.untrusted;
  return drift !== null && marksOn(node, keys).taints.some(({ key }) => key === desired);
}
