import type { AskedAgain } from '../channel/ports.ts';
import type { Packed } from '../evidence/pack.ts';
import type { InForce } from '../in-force/in-force.ts';
import {
  type AppraisedNode,
  type Begun,
  noPast,
  overdueVerdict,
  trialEndedVerdict,
  twinVerdict,
} from '../policy/appraise.ts';
import { diskMemoryIn, shownVolumes } from '../policy/disk/memory.ts';
import { addsNothing, gateOrderOf } from '../policy/gate.ts';
import { withoutUnknown } from '../policy/unknown.ts';
import { longestProblem } from '../protocol/bundle.ts';
import { type PartName, partNames } from '../protocol/evidence.ts';
import type { GateOrder } from '../protocol/gate.ts';
import { inSteps } from '../protocol/in-steps.ts';
import { turnedIn } from '../protocol/our-change.ts';
import type { ReasonCode } from '../protocol/reasons.ts';
import { Rejection } from '../protocol/rejection.ts';
import type { FaultCause } from '../protocol/server-fault.ts';
import type { NodeState, Verdict } from '../protocol/verdict.ts';
import { type ImaProblem, isProvenList } from '../verify/ima/proven-list.ts';
import type { Proven } from '../verify/proven.ts';
import { Verifier } from '../verify/verifier.ts';
import {
  type Answer,
  type AttestedNode,
  answeredEvidence,
  namedBy,
  partsWith,
  withListApart,
} from './answer.ts';
import { type AnswerProof, AnswerProofs } from './answer-proof.ts';
import { keptBytes, newPartBytes } from './answer-size.ts';
import { Deadlines } from './deadlines.ts';
import { Lanes } from './lanes.ts';
import { NamedParts } from './named-parts.ts';
import { lastTrusted, nextStatus, partsShown } from './next-status.ts';
import { NodeFaults } from './node-faults.ts';
import { isConcurrent, previousOf, sequenceOf } from './node-sequence.ts';
import type { AttestPorts, ChangeRecord, NodeStatus } from './ports.ts';
import { saysTheSame, withTextsOf } from './same-verdict.ts';
import { SharedVolumes } from './shared-volumes.ts';
import { supplementList } from './supplements/list.ts';
import type { GivenSupplement, KeptSupplement, SupplementFigures } from './supplements/supplement.ts';
import type { SupplementedAnswer, WholeAnswer } from './supplements/supplemented-answer.ts';
import { Supplements } from './supplements/supplements.ts';
import { SystemUuids } from './system-uuids.ts';
import { Turns } from './turns.ts';
import { Twins } from './twins.ts';
import { type Proof, Unwritten } from './unwritten.ts';
import { changeRecord } from './verdict-record.ts';
import { type RecordedVerdicts, VerdictRows } from './verdict-rows.ts';

/** What an answer was worth. */
export interface Judged {
  readonly state: NodeState;
  readonly codes: readonly ReasonCode[];
  /** It is asked again at once: an initrd of its is on the way. */
  readonly more: boolean;
  /** Parts that its connection need not show again. */
  readonly enough: readonly PartName[];
  /** To a gate alone. */
  readonly gate?: GateOrder;
}

/**
 * The pipeline: verify, appraise, record, report. Keeps in memory what the next verdict of each node needs; all of it
 * is read from the store again at a start.
 */
export class Attestation {
  readonly #ports: AttestPorts;
  readonly #statuses = new Map<string, NodeStatus>();
  readonly #verifier = new Verifier();
  readonly #systemUuids = new SystemUuids();
  readonly #volumes = new SharedVolumes();
  readonly supplements: Supplements;
  readonly proofs: AnswerProofs;
  readonly #lanes = new Lanes();
  readonly #deadlines: Deadlines;
  readonly #named: NamedParts;
  readonly #twins = new Twins();
  readonly #rows: VerdictRows;
  readonly turns: Turns;
  readonly #unwritten = new Unwritten((name, proof) => this.#show(name, proof));
  readonly #faults: NodeFaults;
  /** What is stored of nodes that are shown as overdue, where that is a fault of ours: it is not stored. */
  readonly #stored = new Map<string, NodeStatus>();
  /** By the monotonic clock: when what could not be stored of these is tried again. */
  #retryAt = 0;

  private constructor(ports: AttestPorts) {
    this.#ports = ports;
    this.proofs = new AnswerProofs(this.#verifier, ports);
    this.#named = new NamedParts(this.#verifier, (digest, node) => ports.evidence.readPart(digest, node));
    this.#rows = new VerdictRows(ports);
    const isLookedInto = (name: string) => this.turns.askInitrds(name, this.status(name), ports.inForce());
    this.supplements = new Supplements(supplementList({ ports, verifier: this.#verifier, isLookedInto }));
    this.#deadlines = new Deadlines(() => ports.monotonic());
    this.turns = new Turns(ports);
    this.#faults = new NodeFaults(() => ports.monotonic(), ports.unknownAfter);
  }

  /**
   * Time in which the server was down extends every deadline, and nothing else does: a server that starts again and
   * again keeps no silent node trusted.
   * @param lastAlive when a server last ran on this store; null where that is not known: then nothing is extended
   */
  static async open(ports: AttestPorts, lastAlive: number | null): Promise<Attestation> {
    const attestation = new Attestation(ports);
    await attestation.supplements.open();
    ports.evidence.share.onGone((digests, name) => attestation.supplements.gone(name, digests));
    const down = lastAlive === null ? 0 : Math.max(0, ports.now() - lastAlive);
    for (const status of await ports.verdicts.statuses()) {
      const expiresAt = status.expiresAt === null ? null : status.expiresAt + down;
      await attestation.#remember({ ...status, expiresAt });
      attestation.#rows.resume(status);
    }
    await attestation.#holdTwins();
    await attestation.turns.prime(attestation.statuses(), ports.inForce());
    return attestation;
  }

  async #remember(status: NodeStatus): Promise<void> {
    await this.supplements.restore(status);
    this.#statuses.set(status.name, status);
    this.#deadlines.set(status.name, status.expiresAt, this.#ports.now());
    this.#systemUuids.remember(status.name, status.systemUuid);
    this.#volumes.note(status.name, diskMemoryIn(status.memory).volumes);
  }

  /** Attack: nodes of one TPM, from before that could not be. Whichever is silent now is not trusted any longer, either. */
  async #holdTwins(): Promise<void> {
    for (const { name, twin } of await this.#ports.enrolment.twins()) this.#twins.add(name, twin);
    for (const name of this.#twins.names()) {
      const status = this.#statuses.get(name);
      if (status === undefined || status.verdict === null || isHeldAsTwin(status)) continue;
      const verdict = twinVerdict(status.verdict, name, this.#twins.of(name));
      await this.#hold(status, verdict, { trustedAt: lastTrusted(status) });
    }
  }

  /**
   * Has these nodes count for nothing, whatever they proved: they enrolled while the server was on trial, and it is not any more.
   * It is on disk, with its audit entry, before anybody asks.
   */
  async endTrialOf(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const status = this.#statuses.get(name);
      if (status === undefined || status.verdict === null || isOfEndedTrial(status)) continue;
      const verdict = trialEndedVerdict(status.verdict, name);
      await this.#hold(status, verdict, { trustedAt: null, expiresAt: null });
      this.#deadlines.forget(name);
    }
  }

  /** It has a row, however often the verdict of the node changes. */
  async #hold(status: NodeStatus, verdict: Verdict, change: Partial<NodeStatus>): Promise<void> {
    const held = { ...status, state: verdict.state, verdict, trustedBy: null, ...change };
    const record = changeRecord(held, this.#ports.now(), [verdict], status.state, []);
    await this.#commit({ record, told: record.history }, status.state);
  }

  statuses(): readonly NodeStatus[] {
    return [...this.#statuses.values()];
  }

  status(name: string): NodeStatus | null {
    return this.#statuses.get(name) ?? null;
  }

  /** Nodes whose verdicts change, or did within the hour, so often that their rows are joined. */
  flapping(): readonly string[] {
    return this.#rows.flapping();
  }

  /** The server failed while it judged this node, or stored what it proved. */
  failed(name: string, error: unknown): void {
    this.#faults.note(name, error);
  }

  /** Why the node's latest answer came to nothing, where that was a fault of ours; else null. */
  serverFault(name: string): FaultCause | null {
    return this.#faults.of(name);
  }

  /** The parts that this node need not send again. */
  heldParts(name: string): NodeStatus['parts'] {
    return this.#named.held(name, this.#statuses.get(name)?.parts ?? noParts);
  }

  /** What is known of initrds, and what is not yet. */
  initrdFigures(): SupplementFigures {
    return this.supplements.figures();
  }

  /**
   * Judges one answer; when this resolves, the verdict is on disk, or the one before is, and this one equals it. Or the node is to
   * be asked for more of it first, as `supplements.ask` says.
   * @throws Rejection where the evidence is bad: nothing is stored and no state changes
   */
  async judge(node: AttestedNode, whole: Answer): Promise<Judged | AskedAgain> {
    this.#ports.evidence.budget.check(node.name, this.#ports.now());
    const shown = this.proofs.begin(node, whole);
    const before = this.#statuses.get(node.name)?.parts ?? noParts;
    // What needs no waiting is not waited for: each time costs a promise, and most answers need it nowhere.
    const unread = this.#named.unread(whole.parts, before);
    const { parts, lost } =
      unread.length === 0
        ? { parts: whole.parts, lost: null }
        : await this.#named.read(node.name, whole.parts, unread, before);
    // With what was read: of a part that only another verdict kept, this one keeps the bytes as well.
    const answer = withListApart({ ...whole, parts });
    const holding = this.supplements.held(node.name, before);
    const held = holding instanceof Promise ? await holding : holding;
    const proof = shown(answer.parts);
    if (proof.isHeavy) await proof.turn();
    const started = performance.now();
    const first = held.some(isToBeRead) ? await inSteps(proof.steps(held)) : proof.with(held);
    this.#ports.duration('verify', (performance.now() - started) / 1000);
    if (lost !== null) throw notSent(lost);
    const answered = this.supplements.answered(node, answer, proof, first, held);
    const taking = answered.takeBefore(this.#ports.now());
    if (taking !== null && (await taking)) return askedAgain;
    return this.#lanes.inOrder(node.name, () => this.#judgeInTurn(node, answer, proof, answered));
  }

  async #judgeInTurn(
    node: AttestedNode,
    answer: Answer,
    proof: AnswerProof,
    answered: SupplementedAnswer,
  ): Promise<Judged | AskedAgain> {
    const { name } = node;
    if (!this.#statuses.has(name)) await this.#recallArchived(name);
    const inForce = this.#ports.inForce();
    const place = inForce.groupOf(name, this.#ports.labelsOf(name));
    const judged = this.#judgedAs(node, answer);
    const appraiser = this.turns.appraiserOf(this.status(name), inForce);
    const at = this.#ports.now();
    const rules = {
      judgedTo: () => appraiser.judgedTo(judged),
      ahead: (proven: Proven) => appraiser.ahead(proven, judged, at),
    };
    const whole = await answered.whole(rules, at);
    if (whole === null) return askedAgain;
    const { kept } = whole;
    const came = keptBytes(answer.parts, kept, this.#statuses.get(name)?.parts ?? noParts);
    // Parts and pieces may have been written with an answer that came to nothing: these do not give way.
    const hasRoom = await this.#ports.evidence.share.hasRoom(node, came, () => namedBy(answer.parts, kept));
    for (const one of kept)
      if (one.isLong) {
        if (!hasRoom) throw this.#ports.evidence.share.full(name);
        await this.#keepLong(node, one);
      }
    if (proof.isHeavy) await proof.turn();
    try {
      return await this.#record({ ...whole, node, answer, proof, place, arrived: came, hasRoom }, inForce);
    } catch (error) {
      // What was not written down was not said, also by a node that was revoked meanwhile.
      const before = this.#statuses.get(name);
      this.#systemUuids.restore(name, before?.systemUuid ?? null);
      this.#volumes.note(name, diskMemoryIn(before?.memory ?? {}).volumes);
      throw error;
    }
  }

  #judgedAs({ name, tpmClass = 'unknown' }: AttestedNode, answer: Answer): AppraisedNode {
    const previous = this.#statuses.get(name) ?? null;
    const past = { ...noPast, sentParts: sentBefore(previous), memory: previous?.memory ?? {} };
    return { name, labels: this.#ports.labelsOf(name), tpmClass, past, by: answer.by ?? 'agent' };
  }

  /** What is too long for one transaction with a verdict; what is left of a verdict that fails is unused. */
  async #keepLong({ name, ekDigest }: AttestedNode, kept: KeptSupplement): Promise<void> {
    for (const piece of kept.blobs) {
      await this.#ports.verdicts.keepShared(piece, ekDigest, this.#ports.now());
      this.supplements.written(name, [{ ...kept, blobs: [piece] }]);
    }
  }

  /** Attack: a node stays away until its record is archived, so that what was held against it is forgotten. */
  async #recallArchived(name: string): Promise<void> {
    const archived = await this.#ports.verdicts.archivedStatus(name);
    if (archived === null) return;
    await this.#remember(archived);
    this.#ports.presence.recalled(name);
  }

  /** Takes what is stored of a node into memory, where it is not there; null where none is enrolled. */
  recall(name: string): Promise<NodeStatus | null> {
    return this.#lanes.inOrder(name, async () => {
      const known = this.#statuses.get(name);
      if (known !== undefined) return known;
      const found = await this.#ports.verdicts.status(name);
      if (found !== null) await this.#remember(found);
      return found;
    });
  }

  /** Does the work while no verdict of these nodes is under way, and knows nothing of those that it gives afterwards. */
  archive(names: readonly string[], work: () => Promise<readonly string[]>): Promise<void> {
    const whole = async () => {
      for (const name of await work()) this.#forget(name);
    };
    return names.reduce<() => Promise<void>>(
      (inner, name) => () => this.#lanes.inOrder(name, inner),
      whole,
    )();
  }

  /**
   * Ages what is overdue: silence is never trusted, and launders nothing that was untrusted.
   * @throws AggregateError where the store refuses some of it; no node stays trusted for that
   */
  async sweep(): Promise<void> {
    const now = this.#ports.now();
    const overdue = this.statuses().filter(
      ({ name, state, verdict }) =>
        verdict !== null && this.#deadlines.isOver(name) && (state === 'trusted' || state === 'pending'),
    );
    const aged = await Promise.allSettled([
      ...overdue.map((status) => this.#lanes.inOrder(status.name, () => this.#age(status, status, now))),
      ...this.#notStored().map(([shown, stored]) =>
        this.#lanes.inOrder(shown.name, () => this.#age(shown, stored, now)),
      ),
      ...this.#rows.due().map((name) => this.#writeFlaps(name)),
    ]);
    const faults = aged.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
    if (faults.length === 0) return;
    this.#retryAt = this.#ports.monotonic() + retryAfter;
    throw new AggregateError(faults, `the state of ${faults.length} nodes could not be written`);
  }

  /** Nodes that are silent on their own by now: of these it may be stored that they are. */
  #notStored(): readonly (readonly [shown: NodeStatus, stored: NodeStatus])[] {
    if (this.#ports.monotonic() < this.#retryAt) return [];
    return [...this.#stored].flatMap(([name, stored]) => {
      const shown = this.#statuses.get(name);
      return shown === undefined || this.#isOnlyShown(name) ? [] : [[shown, stored] as const];
    });
  }

  /** @param stored what is on disk of it, which is not what is shown where that could not be stored */
  async #age(shown: NodeStatus, stored: NodeStatus, now: number): Promise<void> {
    const { name, verdict: before } = stored;
    // A verdict may have come while this one waited its turn.
    if (this.#statuses.get(name) !== shown || before === null) return;
    const verdict = overdueVerdict(before, stored.verifiedAt);
    const aged: NodeStatus = { ...stored, state: verdict.state, verdict, trustedAt: lastTrusted(stored) };
    // Not trusted any longer, though it is not written down.
    const showOnly = () => {
      this.#statuses.set(name, { ...aged, since: stored.expiresAt ?? now });
      this.#unwritten.forget(name);
      this.#stored.set(name, stored);
    };
    if (this.#isOnlyShown(name)) return showOnly();
    try {
      const change = this.#rows.changed(aged, now, [verdict], stored.state, []);
      await this.#commit(change, stored.state, async () => {
        if (await this.#ports.verdicts.recordAgeing(change.record, stored)) return true;
        await this.#readAgain(name, now);
        return false;
      });
    } catch (error) {
      showOnly();
      throw error;
    }
  }

  /** The one row of what changed since the row before. */
  #writeFlaps(name: string): Promise<void> {
    return this.#lanes.inOrder(name, async () => {
      const status = this.#statuses.get(name);
      // What is shown and not stored is told once it can be.
      if (status === undefined || this.#stored.has(name) || this.#ports.storageFault() !== null) return;
      const joined = this.#rows.joined(status, this.#ports.now());
      if (joined !== null) await this.#commit(joined, status.state);
    });
  }

  /** That the node is overdue is not its own doing, cannot be stored, or tells nothing: its machine is switched off. */
  #isOnlyShown(name: string): boolean {
    const ports = this.#ports;
    return this.#faults.of(name) !== null || ports.storageFault() !== null || ports.presence.isAway(name);
  }

  /** Another program wrote the node's row since it was read: what is there counts, and ages in its turn. */
  async #readAgain(name: string, now: number): Promise<void> {
    const found = await this.#ports.verdicts.status(name);
    if (found === null) throw new Error(`${name} is no node any more, and nobody said so`);
    this.#showStored(found);
    this.#deadlines.set(name, found.expiresAt, now);
  }

  /**
   * Does the work when no verdict of this node is under way, and knows nothing of the node afterwards.
   * @param akName its attestation key, where it is known
   */
  release(name: string, work: () => Promise<void>, akName?: string): Promise<void> {
    return this.#lanes.inOrder(name, async () => {
      await work();
      this.#forget(name);
      if (akName !== undefined) this.#verifier.forget(akName);
      this.#twins.forget(name);
    });
  }

  #forget(name: string): void {
    const status = this.#statuses.get(name);
    if (status !== undefined) this.#ports.evidence.share.forget(status.ekDigest);
    this.#statuses.delete(name);
    this.#stored.delete(name);
    this.#faults.forget(name);
    this.#deadlines.forget(name);
    this.#systemUuids.forget(name);
    this.#volumes.forget(name);
    this.#named.forget(name);
    this.#ports.evidence.logsPerBoot.forget(name);
    this.#ports.evidence.budget.forget(name);
    this.#ports.evidence.fileBudget.forget(name);
    this.proofs.forget(name);
    this.supplements.forget(name);
    this.#unwritten.forget(name);
    this.#rows.forget(name);
  }

  /**
   * A person approves the node's key again: what is held against its TPM, and the firmware that it had, are forgotten with
   * the counters, and its next proof counts as the first. False where there is nothing of it.
   */
  approveAgain(name: string, actor: string): Promise<boolean> {
    return this.#lanes.inOrder(name, async () => {
      const status = this.#statuses.get(name);
      const { held = null, replaced = null } = status?.sequence ?? {};
      const code = held ?? (replaced === null ? null : 'tpm_firmware');
      if (status === undefined || code === null) return false;
      await this.#ports.enrolment.forgetSequence(status.ekDigest, {
        at: this.#ports.now(),
        actor,
        action: 'enrol.approve',
        subject: name,
        code,
        detail: { ek: status.ekDigest, was: code },
      });
      this.#statuses.set(name, {
        ...(this.#statuses.get(name) ?? status),
        resetCount: null,
        restartCount: null,
        clock: null,
        firmwareVersion: null,
        bootId: null,
        sequence: null,
      });
      return true;
    });
  }

  /** Resolves when no verdict is under way, and all are on disk. */
  async idle(): Promise<void> {
    await Promise.all(this.#rows.waiting().map((name) => this.#writeFlaps(name)));
    await this.#lanes.idle();
    this.supplements.close();
    await this.#ports.verdicts.settled();
  }

  async #record(whole: ProvenWhole, inForce: InForce): Promise<Judged> {
    const { node, answer, proof, proven, kept: supplements, place, wait, asks, hasRoom } = whole;
    // What cannot be stored is not said.
    const fault = this.#ports.storageFault();
    if (fault !== null) throw fault;
    const at = this.#ports.now();
    const { budget, packer, share } = this.#ports.evidence;
    const { uuid: systemUuid, others } = this.#systemUuids.claim(node.name, proven.facts?.host?.systemUuid);
    const previous = this.#stored.get(node.name) ?? this.#statuses.get(node.name) ?? null;
    const started = performance.now();
    const { group, labels } = place;
    const { challengedAt } = answer;
    const concurrent = isConcurrent(previous, { challengedAt, clock: proven.clock.clock });
    const sentParts = sentBefore(previous);
    const sequence = previous === null ? null : sequenceOf(previous);
    const memory = previous?.memory ?? {};
    // The part that came before shows what it showed before.
    const isGate = (answer.by ?? 'agent') !== 'agent';
    if (!isGate && proven.parts.disk?.digest !== previous?.parts.disk)
      this.#volumes.note(node.name, shownVolumes(proven, this.#volumes.marksOf(node.name)));
    const past = {
      sequence,
      concurrent,
      twins: this.#twins.of(node.name),
      // What many machines show names none.
      clusterUuid: systemUuid === null ? null : this.#ports.systemUuidOf(node.name),
      sameUuid: others,
      sharedVolumes: this.#volumes.sharedBy(node.name),
      sentParts,
      memory,
      ...(wait !== null && { initrdWait: wait }),
    };
    const judged = { ...this.#judgedAs(node, answer), past };
    const { verdict, begun, next, ...appraised } = proof.charged(() => inForce.appraise(proven, judged, at));
    this.#ports.duration('appraise', (performance.now() - started) / 1000);
    const shown = partsWith(answer.parts, supplements);
    const parts = partsShown(previous?.parts ?? noParts, shown);
    const turn = { verdict, proven, proof, previous, inForce, node: judged, parts, at };
    const trustedBy = this.turns.atOnce(turn) ?? (await this.turns.next(turn));
    // Earlier rules may want to see what those in force do not.
    const enough = turnedIn(trustedBy) === null ? appraised.enough : [];

    const kept = packer.pack(
      node,
      answeredEvidence(answer, supplements),
      proven,
      {
        at,
        sentParts,
        memory: withoutUnknown(memory),
        labels,
        previous: previousOf(previous, concurrent),
        banks: node.banks ?? undefined,
        imaProblem: shown.ima === undefined && !enough.includes('ima') ? problemOf(proven) : undefined,
        by: answer.by ?? 'agent',
        trial: verdict.trial,
      },
      inForce.context,
    );
    const status = nextStatus(node, verdict, {
      parts,
      proven,
      previous,
      next,
      begun: begun?.code ?? null,
      at,
      systemUuid,
      evidenceDigest: kept.own.digest,
      trustedBy,
      holdsFor: Math.min(this.#ports.unknownAfter, (group.freshness ?? Number.POSITIVE_INFINITY) * 1000),
    });
    const newBytes = newPartBytes(shown, previous?.parts ?? noParts);
    const isSame = previous !== null && begun === null && saysTheSame(previous, status);
    // An honest node whose share is full of old rows is proven as ever: it has no more of them.
    if (!hasRoom && !(isSame && whole.arrived === 0)) throw share.full(node.name);
    const summary =
      isSame && hasRoom ? this.#rows.summary(previous, status, at, verdict, evidenceIn(kept)) : null;
    if (isSame && summary === null) {
      // Shared with no other answer yet: this part of it stays.
      if (newBytes > 0) budget.take(node.name, newBytes, at);
      this.#repeat(previous, status, kept, at, supplements);
    } else if (!isSame && isGate && isKnown(previous, begun, verdict)) {
      // The agent has proven as much, and more: that stays, and holds no longer for this.
      if (newBytes > 0) budget.take(node.name, newBytes, at);
    } else {
      const from = previous?.state ?? null;
      const verdicts = begun?.verdict ? [begun.verdict, verdict] : [verdict];
      const change = summary ?? this.#rows.changed(status, at, verdicts, from, evidenceIn(kept));
      // Of changes that are joined the latest evidence stays, in the place of the one before.
      const rows = change.bytes === 0 ? 0 : kept.own.bytes.length + change.bytes;
      if (rows + newBytes > 0) budget.take(node.name, rows + newBytes, at);
      await this.#commit(change, from);
      this.supplements.written(node.name, supplements);
      this.#deadlines.set(node.name, status.expiresAt, at);
    }
    this.#faults.forget(node.name);
    this.#ports.answered(verdict);
    const codes = verdict.reasons.map((reason) => reason.code);
    if (answer.by !== 'gate') return { state: verdict.state, codes, enough, more: asks };
    const gate = gateOrderOf(verdict, group);
    const { resetCount, restartCount } = proven.clock;
    if (gate.proven || gate.mode === 'observe')
      this.#ports.gateOpened({
        node: node.name,
        why: gate.mode === 'observe' ? 'observe' : 'affirmed',
        bootId: proven.facts?.bootId ?? null,
        boot: `${resetCount}.${restartCount}`,
        evidence: gate.proven ? kept.own.digest : null,
        policy: verdict.policy,
      });
    return { state: verdict.state, codes, enough, gate, more: asks };
  }

  /** The verdict is the one before: it is shown at once, and written within a second. */
  #repeat(
    previous: NodeStatus,
    judged: NodeStatus,
    evidence: Packed,
    at: number,
    supplements: readonly KeptSupplement[],
  ): void {
    const { name } = judged;
    if (previous.verdict === null) return;
    const verdict = withTextsOf(judged.verdict, previous.verdict);
    const status = { ...judged, verdict, verifiedAt: at, repeats: previous.repeats + 1 };
    const before = this.#proofOf(previous);
    this.#statuses.set(name, status);
    this.#stored.delete(name);
    this.#deadlines.set(name, status.expiresAt, at);
    const { digest } = evidence.own;
    const written = this.#ports.verdicts.recordRepeat({ ...status, evidenceDigest: digest, evidence });
    this.#unwritten.follow(name, before, this.#proofOf(status), written).then(
      () => this.supplements.written(name, supplements),
      (error: unknown) => {
        // Of a node that was revoked meanwhile nothing is to be stored.
        if (!(error instanceof Rejection)) this.failed(name, error);
        this.#ports.fault(error, 'verdict');
      },
    );
    this.#ports.recorded(
      { node: name, at, verdict, evidenceDigest: digest, transition: false, repeats: 0, since: at },
      status.state,
    );
  }

  #proofOf({ name, verifiedAt, expiresAt, parts, evidenceDigest }: NodeStatus): Proof {
    return { verifiedAt, expiresAt, parts, evidenceDigest, deadline: this.#deadlines.of(name) };
  }

  #show(name: string, { deadline, ...proof }: Proof): void {
    const status = this.#statuses.get(name);
    if (status === undefined || status.evidenceDigest === proof.evidenceDigest) return;
    this.#statuses.set(name, { ...status, ...proof });
    this.#deadlines.restore(name, deadline);
  }

  /** What is shown is what is stored. */
  #showStored(status: NodeStatus): void {
    this.#statuses.set(status.name, status);
    this.#stored.delete(status.name);
    this.#unwritten.forget(status.name);
  }

  /** @param write false where nothing was written */
  async #commit(
    { record, told }: Pick<RecordedVerdicts, 'record' | 'told'>,
    before: NodeState | null,
    write?: () => Promise<boolean>,
  ): Promise<void> {
    const started = performance.now();
    const { status } = record;
    if (write === undefined) await this.#ports.verdicts.recordChange(record);
    else if (!(await write())) return;
    this.#showStored(status);
    this.#rows.written(record);
    this.#ports.duration('record', (performance.now() - started) / 1000);
    let from = before;
    for (const entry of told) {
      this.#ports.recorded({ node: status.name, ...entry }, from);
      from = entry.verdict.state;
    }
  }
}

/** An answer that is proven as a whole. */
interface ProvenWhole extends WholeAnswer {
  readonly node: AttestedNode;
  readonly answer: Answer;
  readonly proof: AnswerProof;
  /** The node's group, and those of its labels that count. */
  readonly place: ReturnType<InForce['groupOf']>;
  /** Bytes that came with it and are kept beside its document; and whether the node's share of the disk has room for these. */
  readonly arrived: number;
  readonly hasRoom: boolean;
}

/** Its own first. */
function evidenceIn({ own: { digest, bytes }, shared }: Packed): ChangeRecord['evidence'] {
  return [{ digest, bytes }, ...shared];
}

const noParts: NodeStatus['parts'] = {};
const askedAgain: AskedAgain = { again: true };

/** What initrds and loaders hold may be long: the loop is free while it is read. */
function isToBeRead(given: GivenSupplement | null): boolean {
  return given !== null && given.files.size > 0;
}

/** Undefined where there is none. */
function problemOf({ ima }: Proven): ImaProblem | undefined {
  if (ima === null || isProvenList(ima)) return undefined;
  return { ...ima, text: ima.text.slice(0, longestProblem) };
}

/** Between two attempts to store that nodes are overdue, where the store refused it, in milliseconds. */
const retryAfter = 60_000;

function isHeldAsTwin({ state, verdict }: NodeStatus): boolean {
  const isSaid = verdict?.reasons.some(({ code }) => code === 'ek_already_bound') === true;
  return isSaid && state === 'untrusted';
}

function isOfEndedTrial({ verdict }: NodeStatus): boolean {
  return verdict?.reasons.some(({ code }) => code === 'trial_enrolment') === true;
}

/** What a gate says of the boot that was judged before, and was judged alike. */
function isKnown(previous: NodeStatus | null, begun: Begun | null, byGate: Verdict): boolean {
  const before = previous?.verdict ?? null;
  return before !== null && (begun?.verdict ?? null) === null && addsNothing(before, byGate);
}

function sentBefore(previous: NodeStatus | null): readonly PartName[] {
  return previous === null ? [] : partNames.filter((name) => previous.parts[name] !== undefined);
}

/** Also where the verifier remembers it of another node: what a verdict rests on must be kept. */
function notSent(part: PartName): Rejection {
  const field = `parts.${part}`;
  return new Rejection('malformed', `the evidence names ${field}, which was not sent`, { field });
}
