import type { Doubt } from '../formats/marking.ts';
import { ApiBackOff } from './api-back-off.ts';
import type { Breaker } from './breaker.ts';
import { BreakerHolds } from './breaker-holds.ts';
import { ContestedNodes } from './contested-node.ts';
import type { Doubts } from './doubts.ts';
import { isTainted, type JudgementParts, judge, type MarkJudgement } from './judgement.ts';
import { KnownNode, observed } from './known-node.ts';
import { marksOn } from './marks-on-node.ts';
import { tamperEvent, transitionEvent } from './node-events.ts';
import { NodeMarks } from './node-marks.ts';
import {
  type Clock,
  ClusterError,
  type ClusterEvent,
  type ClusterNode,
  type ClusterNodes,
  type ClusterWriter,
  type Decisions,
} from './ports.ts';
import { Publication, type PublicationParts } from './publication.ts';
import type { MarkingReport } from './report.ts';
import type { InspectedNode } from './shown-marks.ts';
import { WorkQueue } from './work-queue.ts';

export interface ReconcilerParts extends JudgementParts, Clock {
  readonly nodes: Pick<ClusterNodes, 'synced' | 'get' | 'all'>;
  readonly writer: PublicationParts['writer'] & Pick<ClusterWriter, 'patchNode' | 'readNode'>;
  readonly decisions: Decisions;
  /** Whether this server is the one that marks. */
  readonly isLeader: () => boolean;
  readonly breaker: Breaker;
  readonly doubts: Doubts;
  readonly report: MarkingReport;
}

/** Nodes that are reconciled at a time. */
const workers = 8;

/**
 * Brings the cluster into the state that the committed verdicts ask for. Called when something may have changed (a verdict, a
 * Node, a decision, a moment), it reads the present state and has the difference written: the marks of the Node (`NodeMarks`)
 * and what is published of it (`publication`). It is level-triggered, and nothing waits for it.
 */
export class Reconciler {
  readonly publication: Publication;
  readonly #parts: ReconcilerParts;
  readonly #known = new Map<string, KnownNode>();
  readonly #marks: NodeMarks;
  readonly #holds: BreakerHolds;
  readonly #backOff: ApiBackOff;
  readonly #contested = new ContestedNodes();
  /** Nodes of which something may be another: they wait to be marked. */
  readonly queue = new WorkQueue(
    (name) => this.#reconcile(name),
    () => workers,
  );
  #isAssessed = false;
  #doubted: readonly Doubt[] = [];

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
    this.#backOff = new ApiBackOff(parts);
    this.#holds = new BreakerHolds(parts);
    this.publication = new Publication({
      ...parts,
      backOff: this.#backOff,
      contested: this.#contested,
      nodeOf: (name) => this.#observed(name),
      judgementOf: (name) => this.#judgementOf(name),
      mayWrite: () => parts.nodes.synced() && parts.isLeader(),
      areMarksWaiting: () => this.queue.length > 0,
    });
    this.#marks = new NodeMarks({
      ...parts,
      backOff: this.#backOff,
      specWritten: (node, known) => void this.#judge(node, known),
      tampered: (name) => this.publication.events.note(name, tamperEvent),
    });
  }

  /** Something of all Nodes, and of all that had one, may be another. */
  enqueueAll(): void {
    for (const { name } of this.#parts.nodes.all()) this.queue.add(name);
    for (const name of this.#known.keys()) this.queue.add(name);
  }

  /** Marks that a Node has and is to have, and why they differ; null if the cluster has none of that name. */
  shown(name: string): (InspectedNode & MarkJudgement) | null {
    const node = this.#observed(name);
    const judgement = this.#judgementOf(name);
    if (node === null || judgement === null) return null;
    return {
      observed: marksOn(node, this.#parts.keys),
      ...judgement,
      tamperedAt: this.#contested.of(name).marks.tamperedAt,
      resource: this.publication.wrong(name),
    };
  }

  /** Publishes it, unless the mode of the node's group has nothing written on its Node. */
  note(name: string, event: ClusterEvent): void {
    const mode = this.#known.get(name)?.judged?.group.mode ?? 'observe';
    if (mode !== 'observe') this.publication.events.note(name, event);
  }

  names(): readonly string[] {
    return [...this.#known.keys()];
  }

  /** Does what is due by itself: to be called each second. */
  resync(): void {
    const { nodes, isLeader, doubts, breaker, report, now, monotonic } = this.#parts;
    const [at, wall] = [monotonic(), now()];
    doubts.look(wall, at);
    const doubted = doubts.now(at);
    for (const doubt of doubted) if (!this.#doubted.includes(doubt)) report.doubted(doubt);
    this.#doubted = doubted;
    breaker.doubt(doubted.length > 0);
    if (!nodes.synced()) return;
    if (!this.#isAssessed) this.#assessAll(at);
    if (!isLeader()) return;
    this.#holds.resync(at);
    for (const name of breaker.ready(at)) this.queue.add(name);
    for (const [name, { dueAt, judged }] of this.#known)
      if (dueAt <= at || wall > (judged?.expiresAt ?? Number.POSITIVE_INFINITY)) this.queue.add(name);
    this.publication.resync();
  }

  /** A person decided something, or what was decided has ended. */
  decisionsChanged(): void {
    this.#holds.decided();
    this.enqueueAll();
  }

  /** This server marks from now on, and another one may have until now: what it did is nobody's tampering. */
  tookOver(): void {
    for (const known of this.#known.values()) {
      known.lastApplied = null;
      known.written = null;
    }
    this.publication.tookOver();
    this.enqueueAll();
  }

  async close(): Promise<void> {
    await Promise.all([this.queue.close(), this.publication.close()]);
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await this.queue.idle();
    await this.publication.idle();
  }

  /** Before the first taint is put, all nodes are looked at: the breaker must know what fails already. */
  #assessAll(at: number): void {
    const { nodes, breaker, keys } = this.#parts;
    this.#isAssessed = true;
    this.#holds.decided();
    for (const node of nodes.all()) {
      const { judged } = this.#judge(node, this.#knownOf(node));
      if (isTainted(node, judged, keys)) breaker.grant(node.name, at);
    }
    this.enqueueAll();
  }

  /** One Node, from how it is to how it should be; or that waits. */
  async #reconcile(name: string): Promise<void> {
    const { nodes, isLeader, writer, report, monotonic } = this.#parts;
    if (!nodes.synced() || !this.#isAssessed) return;
    const started = monotonic();
    let node = this.#observed(name);
    try {
      for (let reads = 0; node !== null; reads += 1) {
        const known = this.#knownOf(node);
        const judgement = this.#judge(node, known);
        if (!isLeader()) return;
        this.#holds.open(monotonic());
        const contested = this.#contested.of(name).marks;
        const wait = Math.max(contested.notBefore, this.#backOff.opensAt('marks'));
        if (monotonic() < wait) {
          known.dueAt = Math.min(known.dueAt, wait);
          return;
        }
        try {
          if (!(await this.#marks.apply(node, known, judgement, contested))) return;
          break;
        } catch (error) {
          if (!(error instanceof ClusterError) || reads >= readsAfter(error)) throw error;
          node = await writer.readNode(name);
        }
      }
      if (node === null) this.#gone(name);
      report.reconciled((monotonic() - started) / 1000);
    } catch (error) {
      if (error instanceof ClusterError) this.#failed(name, error);
      else report.fault(error, `marking of ${name}`);
    }
  }

  /** Judges which marks this Node is to carry now; readers learn of it, and of a transition. */
  #judge(node: ClusterNode, known: KnownNode): MarkJudgement {
    const { name } = node;
    const judgement = judge(node, known, this.#parts);
    const { judged, marks } = judgement;
    if (marks.suppressed !== null && marks.suppressed !== known.marks?.suppressed)
      this.#parts.report.suppressed(marks.suppressed);
    if (known.judged !== null && known.judged.state !== judged.state && judged.group.mode !== 'observe')
      this.publication.events.note(name, transitionEvent(judged));
    known.judged = judged;
    known.marks = marks;
    this.publication.judged(name);
    return judgement;
  }

  #observed(name: string): ClusterNode | null {
    return observed(this.#parts.nodes.get(name), this.#known.get(name), this.#parts.monotonic());
  }

  #knownOf({ name, uid }: ClusterNode): KnownNode {
    const known = this.#known.get(name);
    if (known?.uid === uid) return known;
    const fresh = new KnownNode(uid, known);
    this.#known.set(name, fresh);
    this.#contested.renewed(name);
    return fresh;
  }

  #judgementOf(name: string): MarkJudgement | null {
    const { judged = null, marks = null } = this.#known.get(name) ?? {};
    return judged === null || marks === null ? null : { judged, marks };
  }

  #gone(name: string): void {
    this.#known.delete(name);
    this.#contested.renewed(name);
    this.#parts.breaker.forget(name);
    this.#backOff.forget('marks', name);
    this.publication.gone(name);
  }

  /** It is tried again later; what concerns all has all of them wait. */
  #failed(name: string, error: ClusterError): void {
    const { report, doubts } = this.#parts;
    // It vanished meanwhile: the watch will say so.
    if (error.reason === 'not_found') return;
    report.failed(error, name);
    const isOfAll = this.#backOff.failed('marks', error, { name, all: this.#known.size });
    // A rule that refuses what we write says nothing against what the API tells.
    if (isOfAll && error.reason !== 'invalid') doubts.answered(false);
    const known = this.#known.get(name);
    if (known === undefined) return;
    const contested = this.#contested.of(name).marks;
    contested.failed(this.#backOff);
    known.dueAt = contested.notBefore;
  }
}

/** How often in a row a Node is read again because it may be another by now. */
function readsAfter({ reason }: ClusterError): number {
  return reason === 'conflict' ? 5 : reason === 'invalid' ? 1 : 0;
}
