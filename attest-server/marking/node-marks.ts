import type { TaintKeys } from '../formats/marks.ts';
import { type ApiBackOff, isRefusal } from './api-back-off.ts';
import type { Breaker } from './breaker.ts';
import type { ContestedMarks } from './contested-node.ts';
import type { Doubts } from './doubts.ts';
import type { MarkJudgement } from './judgement.ts';
import type { KnownNode } from './known-node.ts';
import type { Marks } from './marks.ts';
import { hasSameMarks, type MarksOnNode, marksOn, taintText } from './marks-on-node.ts';
import { labelRemoval, type NodePatch, nodePatch, statusPatch, withoutVersion } from './patch.ts';
import { type Clock, ClusterError, type ClusterNode, type ClusterWriter } from './ports.ts';
import { counted, type MarkingReport } from './report.ts';

export interface NodeMarksParts extends Pick<Clock, 'now' | 'monotonic'> {
  readonly writer: Pick<ClusterWriter, 'patchNode'>;
  readonly backOff: ApiBackOff;
  readonly breaker: Pick<Breaker, 'delayOf' | 'grant'>;
  readonly doubts: Pick<Doubts, 'answered'>;
  readonly keys: TaintKeys;
  /** Called once taints and label are written: they count before the condition is. */
  readonly specWritten: (node: ClusterNode, known: KnownNode) => void;
  /** Called for marks that somebody changed: they are restored. */
  readonly tampered: (node: string) => void;
  readonly report: Pick<MarkingReport, 'acted' | 'tampered' | 'startupTaintRestored'>;
}

/** Between two writes that only say the same in other words. */
const minorEvery = 60_000;

/**
 * Writes taints, label and condition of one Node, so that they are as desired: whatever takes trust away goes first and
 * regardless of others, the rest if it is worth a write and nobody keeps changing it.
 */
export class NodeMarks {
  readonly #parts: NodeMarksParts;

  constructor(parts: NodeMarksParts) {
    this.#parts = parts;
  }

  /** Writes what differs. @returns false if that has to wait, until `known.dueAt` */
  async apply(
    node: ClusterNode,
    known: KnownNode,
    { judged, marks }: MarkJudgement,
    contested: ContestedMarks,
  ): Promise<boolean> {
    const { keys, breaker, now, monotonic } = this.#parts;
    const at = monotonic();
    const observed = marksOn(node, keys);
    const spec = nodePatch(node, marks, keys);
    const status = statusPatch(node, marks.condition, now());
    const isChanged = known.lastApplied !== null && !hasSameMarks(observed, known.lastApplied);
    known.lastApplied = observed;
    const asked = askedOf(marks);
    if (spec.actions.length > 0 || status.actions.length > 0) {
      if (isChanged && contested.putBackAt === null) this.#changed(node, known, observed, spec, contested);
      if (takesTrust(spec)) contested.hasten(at);
      const isMinorChange = contested.putBackAt === null && isMinor(observed, spec, marks);
      // Attack: a kubelet edits its condition without end. A fight delays no verdict.
      const pause = known.asked === asked ? contested.putBackAt : null;
      const end = isMinorChange ? known.minorAt + minorEvery : pause;
      if (end !== null && at < end) {
        known.dueAt = Math.min(known.dueAt, end);
        return false;
      }
      if (isMinorChange) known.minorAt = at;
      let current = node;
      if (spec.actions.length > 0) {
        // No taint of drift is what a Node gets before its first proof, or anew while its own is held back.
        const isOfDrift = judged.drift !== null && (judged.state !== 'pending' || judged.isReproving);
        if (isOfDrift && spec.actions.includes('taint_add') && breaker.delayOf(node.name, at) === null)
          breaker.grant(node.name, at);
        current = await this.#writeSpec(node, known, spec);
        this.#parts.specWritten(current, known);
      }
      await this.#writeStatus(current, known, marks);
    }
    known.asked = asked;
    contested.succeeded();
    known.dueAt = known.steadiness.settlesAt(monotonic()) ?? Number.POSITIVE_INFINITY;
    return true;
  }

  /** Somebody else changed our marks: the more often, the later they are restored. */
  #changed(
    { name }: ClusterNode,
    { judged, marks }: KnownNode,
    observed: MarksOnNode,
    { actions }: NodePatch,
    contested: ContestedMarks,
  ): void {
    const { report, keys, tampered, now, monotonic } = this.#parts;
    const isOnlyStartup =
      actions.every((action) => action === 'taint_remove') &&
      actions.length > 0 &&
      observed.taints.some(({ key }) => key === keys.pending) &&
      judged?.state === 'trusted';
    if (isOnlyStartup) {
      contested.startupTaintRestored(monotonic());
      report.startupTaintRestored(name);
      return;
    }
    contested.tampered(monotonic(), now());
    report.tampered(name, `the marks of ${name} were changed: ${spokenOf(observed, marks)}`);
    tampered(name);
  }

  /**
   * Attack: a kubelet writes its own Node without end, or makes it as large as it may be. What takes trust away is
   * written all the same, and the label goes by itself where all together is refused.
   */
  async #writeSpec({ name, labels }: ClusterNode, known: KnownNode, spec: NodePatch): Promise<ClusterNode> {
    const write = (patch: NodePatch) => this.#write('', name, known, patch);
    try {
      return await write(spec);
    } catch (error) {
      if (!isRefusal(error) || !takesTrust(spec)) throw error;
      if (error.reason === 'conflict' || error.reason === 'invalid') {
        const done = await write(withoutVersion(spec)).catch(noSuccess);
        if (done !== null) return done;
      }
      if (spec.actions.includes('label_remove')) await write(labelRemoval({ labels })).catch(noSuccess);
      throw error;
    }
  }

  /** A condition that says more than the verdict goes by itself where the API does not take the other one. */
  async #writeStatus(node: ClusterNode, known: KnownNode, { condition }: Marks): Promise<void> {
    const { keys, now } = this.#parts;
    const write = (patch: NodePatch) => this.#write('/status', node.name, known, patch);
    const desired = statusPatch(node, condition, now());
    if (desired.actions.length === 0) return;
    try {
      await write(desired);
    } catch (error) {
      const isAnswered = isRefusal(error) && error.reason !== 'conflict';
      const isGreen = marksOn(node, keys).condition?.status === 'True' && condition?.status !== 'True';
      if (isAnswered && isGreen && condition !== null)
        await write(statusPatch(node, null, now())).catch(noSuccess);
      throw error;
    }
  }

  async #write(
    subresource: '' | '/status',
    name: string,
    known: KnownNode,
    { actions, operations }: NodePatch,
  ): Promise<ClusterNode> {
    const { writer, backOff, doubts, report, keys, monotonic } = this.#parts;
    const node = await counted(report, actions, () => writer.patchNode(name, operations, subresource));
    known.written = node;
    known.lastApplied = marksOn(node, keys);
    known.wroteAt = monotonic();
    backOff.accepted('marks');
    doubts.answered(true);
    return node;
  }
}

function noSuccess(error: unknown): null {
  if (error instanceof ClusterError) return null;
  throw error;
}

function takesTrust({ actions }: NodePatch): boolean {
  return actions.some((action) => action === 'label_remove' || action === 'taint_add');
}

/** The marks that a verdict asks for, whatever their wording. */
function askedOf({ taints, label }: Marks): string {
  return JSON.stringify([taints.map(({ key }) => key).sort(), label]);
}

/** The same marks in other words: they can wait, so that a node that changes each second loads no API. */
function isMinor({ condition }: MarksOnNode, { actions }: NodePatch, marks: Marks): boolean {
  return (
    actions.every((action) => action === 'taint_change') && condition?.status === marks.condition?.status
  );
}

function spokenOf({ taints, label, condition }: MarksOnNode, marks: Marks | null): string {
  const found = taints.map(taintText).join(', ');
  const wanted = marks?.taints.map(taintText).join(', ');
  const labels = `label ${label ?? 'none'}, wanted ${marks?.label ? 'true' : 'none'}`;
  return `taints ${found || 'none'}, wanted ${wanted || 'none'}; ${labels}; condition ${condition?.status ?? 'none'}, wanted ${marks?.condition?.status ?? 'none'}`;
}
