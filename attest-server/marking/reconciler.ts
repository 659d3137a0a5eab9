import type { Doubt, EnforcementAction, Suppression } from '../formats/marking.ts';
import type { TaintKeys } from '../formats/marks.ts';
import { backOff } from './back-off.ts';
import { type Breaker, type HeldKey, keyOf } from './breaker.ts';
import type { Doubts } from './doubts.ts';
import { judgedNode, type MarkedGroup, type NodeToMark } from './judged-node.ts';
import { type KnownNode, knownNode } from './known-node.ts';
import { camelCase, firstSentence, type Marks, marksFor, sparedAs } from './marks.ts';
import { hasSameMarks, type MarksOnNode, marksOn, taintText } from './marks-on-node.ts';
import { labelRemoval, type NodePatch, nodePatch, statusPatch, withoutVersion } from './patch.ts';
import {
  ClusterError,
  type ClusterEvent,
  type ClusterNode,
  type ClusterNodes,
  type ClusterWriter,
  type Committed,
  type Decisions,
  type Hold,
} from './ports.ts';
import { Publication } from './publication.ts';
import type { LookedNode } from './shown-marks.ts';
import { WorkQueue } from './work-queue.ts';

export interface MarkingReport {
  acted(action: EnforcementAction, isDone: boolean): void;
  /** A mark that a verdict asks for is not set, or not removed, from now on. */
  suppressed(reason: Suppression): void;
  /** A Node was looked at, and all of its marks are as they should be. */
  reconciled(seconds: number): void;
  /** The cluster did not do what was asked. */
  failed(error: ClusterError, node: string | null): void;
  /** Somebody changed marks of ours; they are put back. */
  tampered(node: string, text: string): void;
  /** A controller put its startup taint back: no attack. */
  startupTaintRestored(node: string): void;
  /** No taint of drift is put while this lasts. */
  doubted(doubt: Doubt): void;
  /** Taints of so many nodes wait for a person from now on. */
  opened(held: HeldKey, nodes: number, isOurs: boolean): void;
  fault(error: unknown, where: string): void;
}

export interface ReconcilerParts {
  readonly nodes: Pick<ClusterNodes, 'synced' | 'get' | 'all'>;
  readonly writer: Pick<
    ClusterWriter,
    | 'patchNode'
    | 'patchNodeStatus'
    | 'readNode'
    | 'applyAttestation'
    | 'attestations'
    | 'removeAttestation'
    | 'event'
  >;
  readonly committed: Pick<Committed, 'status'>;
  readonly decisions: Decisions;
  /** The group of the policy in force. */
  readonly groupOf: (node: string, labels: ClusterNode['labels']) => MarkedGroup;
  /** Whether this server is the one that marks. */
  readonly isLeader: () => boolean;
  readonly breaker: Breaker;
  readonly doubts: Doubts;
  readonly keys: TaintKeys;
  readonly ownNode: string | null;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Milliseconds of a clock that nobody sets. */
  readonly monotonic: () => number;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly report: MarkingReport;
}

/** Nodes that are marked at a time. */
const workers = 8;
/** Between two writes that only say the same in other words. */
const minorEvery = 60_000;
/** After which those who change our marks begin anew. */
const peaceAfter = 600_000;
const longestRetryAfter = 600_000;
/** Failures in a row after which all marks wait. */
const failuresOfAll = 3;
const openEvery = 1000;

/**
 * Makes the marks in the cluster what the committed verdicts say. It is told that something may have changed (a verdict, a
 * Node, a decision, a moment), reads how all is now, and writes what differs: nothing waits for it, and nothing that it was
 * told is needed again. `tick` is to be called each second.
 */
export class Reconciler {
  readonly #parts: ReconcilerParts;
  readonly #known = new Map<string, KnownNode>();
  readonly #marks = new WorkQueue(
    (name) => this.#mark(name),
    () => workers,
  );
  readonly #publication: Publication;
  #isAssessed = false;
  /** No mark is written before: the latest ones were not taken. */
  #closedUntil = Number.NEGATIVE_INFINITY;
  /** Nothing is written before: the API wants to be left alone. */
  #aloneUntil = Number.NEGATIVE_INFINITY;
  #failures = 0;
  /** Nodes of which a write was refused since one succeeded. */
  readonly #refused = new Set<string>();
  #openedAt = Number.NEGATIVE_INFINITY;
  readonly #opening = new Set<string>();
  #doubted: readonly Doubt[] = [];

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
    const { writer, decisions, now, monotonic, random, report } = parts;
    this.#publication = new Publication({
      writer,
      decisions,
      now,
      monotonic,
      random,
      report,
      nodeOf: (name) => this.#current(name),
      judgementOf: (name) => this.#judgement(name),
      mayWrite: () => parts.nodes.synced() && parts.isLeader() && monotonic() >= this.#aloneUntil,
      areMarksWaiting: () => this.#marks.length > 0,
    });
  }

  /** Something about this node may be another. */
  wake(name: string): void {
    this.#marks.add(name);
  }

  /** The same of all Nodes, and of all that had one. */
  wakeAll(): void {
    for (const { name } of this.#parts.nodes.all()) this.wake(name);
    for (const name of this.#known.keys()) this.wake(name);
  }

  /** How many Nodes wait to be marked. */
  get queueLength(): number {
    return this.#marks.length;
  }

  /** What a Node has, is to have, and why it has something else; null where the cluster has none of that name. */
  shown(name: string): (LookedNode & { readonly judged: NodeToMark }) | null {
    const node = this.#current(name);
    const judgement = this.#judgement(name);
    if (node === null || judgement === null) return null;
    const tamperedAt = this.#known.get(name)?.tamperedAt ?? null;
    return {
      there: marksOn(node, this.#parts.keys),
      ...judgement,
      tamperedAt,
      resource: this.#parts.isLeader() ? this.#publication.wrong(name) : null,
    };
  }

  names(): readonly string[] {
    return [...this.#known.keys()];
  }

  /** Resources that are not as they should be; none where another server writes them. */
  get wrongResources(): ReturnType<Publication['countWrong']> {
    return this.#parts.isLeader() ? this.#publication.countWrong() : new Map();
  }

  /** What the API refuses of them at present, a sentence each. */
  publicationFaults(): readonly string[] {
    return this.#parts.isLeader() ? this.#publication.faults() : [];
  }

  /** Does what is due by itself. */
  tick(): void {
    const { nodes, doubts, breaker, decisions, report, now, monotonic } = this.#parts;
    const at = monotonic();
    doubts.look(now(), at);
    const doubted = doubts.now(at);
    for (const doubt of doubted) if (!this.#doubted.includes(doubt)) report.doubted(doubt);
    this.#doubted = doubted;
    breaker.doubt(doubted.length > 0);
    if (!nodes.synced()) return;
    if (!this.#isAssessed) this.#assessAll(at);
    if (!this.#parts.isLeader()) return;
    this.#open(at);
    const ended = breaker.ended(at);
    if (ended.length > 0) this.#decided(decisions.end(ended));
    for (const name of breaker.ready(at)) this.wake(name);
    const wall = now();
    for (const [name, known] of this.#known) {
      const end = known.judged?.expiresAt ?? null;
      if (known.dueAt <= at || (end !== null && wall > end)) this.wake(name);
    }
    this.#publication.tick();
  }

  /** A person decided something, or what was decided has ended. */
  decisionsChanged(): void {
    this.#parts.breaker.decide(this.#parts.decisions.holds(), this.#parts.monotonic());
    this.wakeAll();
  }

  /** This server marks from now on, and another one may have until now: what it did is nobody's tampering. */
  tookOver(): void {
    for (const known of this.#known.values()) {
      known.left = null;
      known.written = null;
    }
    this.#publication.tookOver();
    this.wakeAll();
  }

  async close(): Promise<void> {
    await Promise.all([this.#marks.close(), this.#publication.close()]);
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await this.#marks.idle();
    await this.#publication.idle();
  }

  /** Before the first taint is put, all nodes are looked at: the breaker must know what fails already. */
  #assessAll(at: number): void {
    this.#isAssessed = true;
    this.#parts.breaker.decide(this.#parts.decisions.holds(), at);
    const { breaker, keys } = this.#parts;
    for (const node of this.#parts.nodes.all()) {
      const known = this.#knownOf(node);
      const { judged } = this.#assess(node, known);
      if (judged.drift !== null && isTainted(marksOn(node, keys), judged, keys)) breaker.grant(node.name, at);
    }
    this.wakeAll();
  }

  /** At once, and then what there is once a second: thousands of values cost little more than one. */
  #open(at: number): void {
    const { breaker, decisions, report, now } = this.#parts;
    const opened = breaker.opened(at).filter((held) => !this.#opening.has(keyOf(held)));
    if (opened.length === 0) return;
    this.#openedAt = at;
    for (const held of opened) this.#opening.add(keyOf(held));
    const failing = new Map(breaker.failing(at).map((one) => [keyOf(one), one]));
    const kept = decisions
      .hold(
        ...opened.map(
          ({ group, code, value }): Hold => ({
            group,
            code,
            value,
            at: now(),
            decision: 'open',
            by: null,
            reason: null,
          }),
        ),
      )
      .then(() => {
        breaker.decide(decisions.holds(), at);
        for (const held of opened) {
          const { waiting = 0, isOurs = false } = failing.get(keyOf(held)) ?? {};
          report.opened(held, waiting, isOurs);
        }
      })
      .finally(() => {
        for (const held of opened) this.#opening.delete(keyOf(held));
      });
    this.#decided(kept);
  }

  #decided(work: Promise<void>): void {
    const { breaker, decisions, monotonic, report } = this.#parts;
    work.then(
      () => breaker.decide(decisions.holds(), monotonic()),
      (error: unknown) => report.fault(error, 'hold of the breaker'),
    );
  }

  /** One Node, from how it is to how it should be. */
  async #mark(name: string): Promise<void> {
    const { monotonic, report } = this.#parts;
    const started = monotonic();
    try {
      if (await this.#settle(name)) report.reconciled((monotonic() - started) / 1000);
    } catch (error) {
      this.#notMarked(name, error);
    }
  }

  /** @returns false where it is put off */
  async #settle(name: string): Promise<boolean> {
    const { nodes, writer, monotonic } = this.#parts;
    if (!nodes.synced() || !this.#isAssessed) return false;
    let node = this.#current(name);
    for (let reads = 0; ; reads += 1) {
      if (node === null) {
        this.#gone(name);
        return true;
      }
      const known = this.#knownOf(node);
      const { judged, marks } = this.#assess(node, known);
      if (!this.#parts.isLeader()) return false;
      if (monotonic() >= this.#openedAt + openEvery) this.#open(monotonic());
      const wait = Math.max(known.notBefore, this.#closedUntil, this.#aloneUntil);
      if (monotonic() < wait) {
        known.dueAt = Math.min(known.dueAt, wait);
        return false;
      }
      try {
        const isDone = await this.#apply(node, known, judged, marks);
        if (isDone) known.failures = 0;
        return isDone;
      } catch (error) {
        if (!(error instanceof ClusterError) || reads >= readsAfter(error)) throw error;
        node = await writer.readNode(name);
      }
    }
  }

  /** Writes what differs. @returns false where that is put off */
  async #apply(node: ClusterNode, known: KnownNode, judged: NodeToMark, marks: Marks): Promise<boolean> {
    const { keys, breaker, now, monotonic } = this.#parts;
    const at = monotonic();
    const there = marksOn(node, keys);
    const spec = nodePatch(node, marks, keys);
    const status = statusPatch(node, marks.condition, now());
    const isRight = spec.actions.length === 0 && status.actions.length === 0;
    const isTouched = known.left !== null && !hasSameMarks(there, known.left);
    known.left = there;
    const asked = askedOf(marks);
    if (isRight) {
      known.asked = asked;
      known.putBackAt = null;
      known.dueAt = this.#nextLook(known, at);
      return true;
    }
    if (isTouched && known.putBackAt === null) known.putBackAt = this.#fought(node, known, there, spec, at);
    if (known.putBackAt !== null) {
      if (takesTrust(spec)) known.putBackAt = Math.min(known.putBackAt, at + soonest);
      // Attack: a kubelet edits its condition without end. A fight delays no verdict, and no edit prolongs the wait.
      if (at < known.putBackAt && known.asked === asked) {
        known.dueAt = known.putBackAt;
        return false;
      }
    } else if (isMinor(there, spec, marks)) {
      const next = known.minorAt + minorEvery;
      if (at < next) {
        known.dueAt = Math.min(known.dueAt, next);
        return false;
      }
      known.minorAt = at;
    }
    let current = node;
    if (spec.actions.length > 0) {
      // No taint of drift is what a Node gets before its first proof, or anew while its own is held back.
      const isOfDrift = judged.drift !== null && (judged.state !== 'pending' || judged.isReproving);
      const isDue = isOfDrift && breaker.delayOf(node.name, at) === null;
      if (isDue && spec.actions.includes('taint_add')) breaker.grant(node.name, at);
      current = await this.#writeSpec(node, known, spec);
      this.#assess(current, known);
    }
    await this.#writeStatus(current, known, marks);
    known.asked = asked;
    known.putBackAt = null;
    known.dueAt = this.#nextLook(known, monotonic());
    return true;
  }

  /**
   * Attack: a kubelet writes its own Node without end, or makes it as large as it may be. What takes trust away is
   * written all the same, and the label goes by itself where all together is refused.
   */
  async #writeSpec(
    { name, labels }: Pick<ClusterNode, 'name' | 'labels'>,
    known: KnownNode,
    spec: NodePatch,
  ) {
    const { writer } = this.#parts;
    const write = (patch: NodePatch) =>
      this.#write(known, patch, () => writer.patchNode(name, patch.operations));
    try {
      return await write(spec);
    } catch (error) {
      if (!(error instanceof ClusterError) || !takesTrust(spec)) throw error;
      const { reason } = error;
      if (reason === 'conflict' || reason === 'invalid') {
        const done = await write(withoutVersion(spec)).catch(noSuccess);
        if (done !== null) return done;
      }
      const isAnswered = ['conflict', 'invalid', 'failed', 'forbidden'].includes(reason);
      if (isAnswered && spec.actions.includes('label_remove'))
        await write(labelRemoval({ labels })).catch(noSuccess);
      throw error;
    }
  }

  /** A condition that says more than the verdict goes by itself where the API does not take the other one. */
  async #writeStatus(node: ClusterNode, known: KnownNode, { condition }: Marks): Promise<void> {
    const { writer, keys, now } = this.#parts;
    const write = (patch: NodePatch) =>
      this.#write(known, patch, () => writer.patchNodeStatus(node.name, patch.operations));
    const wanted = statusPatch(node, condition, now());
    if (wanted.actions.length === 0) return;
    try {
      await write(wanted);
    } catch (error) {
      const isAnswered =
        error instanceof ClusterError && ['invalid', 'failed', 'forbidden'].includes(error.reason);
      const isGreen = marksOn(node, keys).condition?.status === 'True' && condition?.status !== 'True';
      if (isAnswered && isGreen && condition !== null)
        await write(statusPatch(node, null, now())).catch(noSuccess);
      throw error;
    }
  }

  async #write(
    known: KnownNode,
    { actions }: NodePatch,
    write: () => Promise<ClusterNode>,
  ): Promise<ClusterNode> {
    const { report, monotonic, keys } = this.#parts;
    try {
      const node = await write();
      for (const action of actions) report.acted(action, true);
      known.written = node;
      known.left = marksOn(node, keys);
      known.wroteAt = monotonic();
      this.#answered();
      return node;
    } catch (error) {
      for (const action of actions) report.acted(action, false);
      throw error;
    }
  }

  /** Somebody else changed our marks. @returns when they are put back */
  #fought(node: ClusterNode, known: KnownNode, there: MarksOnNode, spec: NodePatch, at: number): number {
    const { report, keys, now } = this.#parts;
    if (at - known.foughtAt > peaceAfter) known.fights = 0;
    known.fights += 1;
    known.foughtAt = at;
    const isOnlyStartup =
      spec.actions.every((action) => action === 'taint_remove') &&
      spec.actions.length > 0 &&
      there.taints.some(({ key }) => key === keys.pending) &&
      known.judged?.state === 'trusted';
    if (isOnlyStartup) {
      report.startupTaintRestored(node.name);
      return at + Math.min(300_000, 5000 * 2 ** Math.min(known.fights, 10));
    }
    known.tamperedAt = now();
    report.tampered(node.name, `the marks of ${node.name} were changed: ${spokenOf(there, known.marks)}`);
    this.#publication.note(node.name, {
      type: 'Warning',
      reason: camelCase('label_tamper'),
      message: 'Somebody changed the marks of Assay on this Node; they are put back as the verdict says.',
    });
    if (known.fights <= 2) return at;
    // What takes trust away is put back soon even in a fight; a fight must not load the API for all that.
    return at + Math.min(takesTrust(spec) ? soonest : 300_000, 1000 * 2 ** Math.min(known.fights - 2, 10));
  }

  #nextLook({ steadiness }: KnownNode, at: number): number {
    return steadiness.settlesAt(at) ?? Number.POSITIVE_INFINITY;
  }

  /** What this Node is worth and to carry now; the breaker learns of it. */
  #assess(node: ClusterNode, known: KnownNode): { readonly judged: NodeToMark; readonly marks: Marks } {
    const { committed, decisions, breaker, doubts, keys, ownNode, report, groupOf, now, monotonic } =
      this.#parts;
    const { name } = node;
    const at = monotonic();
    const wall = now();
    doubts.look(wall, at);
    breaker.doubt(doubts.now(at).length > 0);
    const judged = judgedNode(committed.status(name), groupOf(name, node.labels), wall);
    known.steadiness.note(judged.state === 'trusted', at);
    const exemption = decisions.exemption(name);
    const isSpared = sparedAs(node, ownNode) !== null;
    const isFirst = known.judged === null;
    const isWithoutTpm = judged.state === 'unsupported' && judged.drift === null;
    if (judged.verdict === null || isSpared || isWithoutTpm) breaker.forget(name);
    else {
      const since = isFirst && judged.since !== null ? Math.min(at, at - (wall - judged.since)) : at;
      const isOn = judged.group.mode === 'enforce' && exemption === null;
      const breakable = {
        group: judged.group,
        drift: judged.drift,
        isTainted: judged.drift !== null && isTainted(marksOn(node, keys), judged, keys),
        mayBeTainted: isOn && (judged.state !== 'pending' || judged.isReproving),
        ekDigest: judged.ekDigest,
        trustedAt: judged.trustedAt,
      };
      breaker.set(name, breakable, at, since);
    }
    const marks = marksFor(judged, node, {
      keys,
      paused: decisions.pause() !== null,
      exemption,
      delay: breaker.delayOf(name, at),
      isSettling: known.steadiness.settlesAt(at) !== null,
      ownNode,
    });
    if (marks.suppressed !== null && marks.suppressed !== known.marks?.suppressed)
      report.suppressed(marks.suppressed);
    if (known.judged !== null && known.judged.state !== judged.state && judged.group.mode !== 'observe')
      this.#publication.note(name, eventOf(judged));
    known.judged = judged;
    known.marks = marks;
    this.#publication.judged(name, { judged, marks });
    return { judged, marks };
  }

  /** The Node as the watch told it, or as we left it where the watch has not got so far. */
  #current(name: string): ClusterNode | null {
    const told = this.#parts.nodes.get(name);
    const known = this.#known.get(name);
    if (told === null || known?.written == null) return told;
    const { written } = known;
    if (
      told.uid === written.uid &&
      isOlder(told, written) &&
      this.#parts.monotonic() < known.wroteAt + staleFor
    )
      return written;
    known.written = null;
    return told;
  }

  #knownOf({ name, uid }: ClusterNode): KnownNode {
    const known = this.#known.get(name);
    if (known?.uid === uid) return known;
    const fresh = knownNode(uid);
    // A Node that is made anew is the same machine: what it was known for stays with it.
    const next =
      known === undefined ? fresh : { ...fresh, steadiness: known.steadiness, judged: known.judged };
    this.#known.set(name, next);
    return next;
  }

  #gone(name: string): void {
    this.#known.delete(name);
    this.#parts.breaker.forget(name);
    this.#publication.gone(name);
  }

  #judgement(name: string): { readonly judged: NodeToMark; readonly marks: Marks } | null {
    const { judged, marks } = this.#known.get(name) ?? { judged: null, marks: null };
    return judged === null || marks === null ? null : { judged, marks };
  }

  #answered(): void {
    this.#failures = 0;
    this.#refused.clear();
    this.#parts.doubts.answered(true);
  }

  #notMarked(name: string, error: unknown): void {
    const { report, monotonic, random } = this.#parts;
    if (!(error instanceof ClusterError)) {
      report.fault(error, `marking of ${name}`);
      return;
    }
    // It vanished meanwhile: the watch will say so.
    if (error.reason === 'not_found') return;
    report.failed(error, name);
    const at = monotonic();
    this.#closeAfter(error, at, name);
    const known = this.#known.get(name);
    if (known === undefined) return;
    known.failures += 1;
    known.notBefore = at + backOff(known.failures, random);
    known.dueAt = known.notBefore;
  }

  /** Retry-After stops all that writes. What else concerns all Nodes stops marks: resources may be taken all the same. */
  #closeAfter({ reason, retryAfter }: ClusterError, at: number, name: string): void {
    const { doubts, random } = this.#parts;
    if (retryAfter !== null)
      this.#aloneUntil = Math.max(this.#aloneUntil, at + Math.min(longestRetryAfter, retryAfter));
    if (reason === 'conflict' || reason === 'not_found') return;
    if (reason === 'failed' || reason === 'forbidden' || reason === 'invalid') {
      // Attack: a node makes its own object such that nothing can be written of it. It waits alone, and closes nothing.
      this.#refused.add(name);
      if (this.#refused.size < Math.max(failuresOfAll, this.#known.size / 10)) return;
    }
    this.#failures += 1;
    // A rule that refuses what we write says nothing against what the API tells.
    if (reason !== 'invalid') doubts.answered(false);
    if (this.#failures >= failuresOfAll)
      this.#closedUntil = Math.max(
        this.#closedUntil,
        at + backOff(this.#failures - failuresOfAll + 1, random),
      );
  }
}

/** After which what takes trust away is put back, even in a fight. */
const soonest = 5000;

/** How often in a row a Node is read again because it may be another by now. */
function readsAfter({ reason }: ClusterError): number {
  return reason === 'conflict' ? 5 : reason === 'invalid' ? 1 : 0;
}

function noSuccess(error: unknown): null {
  if (error instanceof ClusterError) return null;
  throw error;
}

function takesTrust({ actions }: NodePatch): boolean {
  return actions.some((action) => action === 'label_remove' || action === 'taint_add');
}

/** What a verdict asks for; in which words does not count. */
function askedOf({ taints, label }: Marks): string {
  return JSON.stringify([taints.map(({ key }) => key).sort(), label]);
}

/** For which our own write counts although the watch has not told it. */
const staleFor = 30_000;

function isOlder(told: ClusterNode, written: ClusterNode): boolean {
  const [a, b] = [told.resourceVersion, written.resourceVersion];
  // They are counters in all that is known, though no client is to rely on it: else for a while at most.
  return /^\d{1,20}$/.test(a) && /^\d{1,20}$/.test(b) ? BigInt(a) < BigInt(b) : a !== b;
}

/** Whether it carries the taint that its state asks for. */
function isTainted({ taints }: MarksOnNode, { state }: NodeToMark, keys: TaintKeys): boolean {
  const wanted = state === 'pending' ? keys.reproving : keys.untrusted;
  return taints.some(({ key }) => key === wanted);
}

/** The same marks in other words: they can wait, so that a node that changes each second loads no API. */
function isMinor({ condition }: MarksOnNode, { actions }: NodePatch, marks: Marks): boolean {
  return (
    actions.every((action) => action === 'taint_change') && condition?.status === marks.condition?.status
  );
}

function eventOf({ state, code, text }: NodeToMark): ClusterEvent {
  const message = text === null ? `The node is ${state}.` : firstSentence(text);
  return {
    type: state === 'untrusted' ? 'Warning' : 'Normal',
    reason: camelCase(state === 'trusted' ? 'trusted' : (code ?? state)),
    message: `${state}: ${message}`,
  };
}

function spokenOf({ taints, label, condition }: MarksOnNode, marks: Marks | null): string {
  const found = taints.map(taintText).join(', ');
  const wanted = marks?.taints.map(taintText).join(', ');
  const labels = `label ${label ?? 'none'}, wanted ${marks?.label ? 'true' : 'none'}`;
  return `taints ${found || 'none'}, wanted ${wanted || 'none'}; ${labels}; condition ${condition?.status ?? 'none'}, wanted ${marks?.condition?.status ?? 'none'}`;
}
