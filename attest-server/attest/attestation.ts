import type { WantedFiles } from '../channel/ports.ts';
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
import type { ImagePlace, ListPlace } from '../protocol/messages.ts';
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
  type Given,
  type GivenFiles,
  namedBy,
  withIndex,
  withListApart,
} from './answer.ts';
import { type AnswerProof, AnswerProofs } from './answer-proof.ts';
import { keptBytes, newPartBytes } from './answer-size.ts';
import { Deadlines } from './deadlines.ts';
import { ImaLists, type KeptIma } from './ima-lists.ts';
import { imageReader } from './image-reader.ts';
import {
  type GivenInitrds,
  type ImageAnswer,
  type InitrdFigures,
  Initrds,
  type Looked,
  noInitrds,
} from './initrds.ts';
import { Lanes } from './lanes.ts';
import { LoaderFiles } from './loader-files.ts';
import { NamedParts } from './named-parts.ts';
import { lastTrusted, nextStatus, partsShown } from './next-status.ts';
import { NodeFaults } from './node-faults.ts';
import { isConcurrent, previousOf, sequenceOf } from './node-sequence.ts';
import type { AttestPorts, ChangeRecord, NodeStatus } from './ports.ts';
import { saysTheSame, withTextsOf } from './same-verdict.ts';
import { SharedVolumes } from './shared-volumes.ts';
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
  readonly #files: LoaderFiles;
  readonly #imaLists: ImaLists;
  readonly proofs: AnswerProofs;
  readonly #initrds: Initrds;
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
    this.#files = new LoaderFiles(ports.evidence, this.#verifier);
    this.#imaLists = new ImaLists({
      verifier: this.#verifier,
      // One that cannot be read is as good as gone: the node has it still.
      readPiece: (digest, node) =>
        ports.evidence.readPiece(digest, node).catch((error: unknown) => {
          ports.fault(error, 'ima');
          return null;
        }),
      most: ports.imaList,
      sealEvery: ports.summaryEvery,
      monotonic: () => ports.monotonic(),
    });
    const { initrds: store, evidence, initrdUploads: uploads, initrdManifests: mostBytes } = ports;
    this.#initrds = new Initrds({
      store,
      keepShared: (blob, ekDigest, at) => ports.verdicts.keepShared(blob, ekDigest, at),
      hasRoom: (node, bytes) => ports.evidence.share.hasRoom(node, bytes, () => []),
      readPart: (digest, node) => evidence.readPart(digest, node),
      verifier: this.#verifier,
      reader: imageReader,
      uploads,
      mostBytes,
      answerWithin: ports.answerWithin,
      unknownAfter: ports.unknownAfter,
      now: () => ports.now(),
      monotonic: () => ports.monotonic(),
      called: (node) => ports.askAgain(node),
    });
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
    await attestation.#initrds.restore();
    ports.evidence.share.onGone((digests, name) => {
      attestation.#initrds.gone(digests);
      attestation.#imaLists.gone(name, digests);
    });
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
    await this.#imaLists.restore(status);
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

  /** Where the node's list of what ran is to go on; null where it is not asked for at present. */
  imaList(name: string): ListPlace | null {
    return this.#imaLists.ask(name);
  }

  /** Where an initrd that the node booted is to go on; null where none is asked for at present. */
  initrd(name: string): ImagePlace | null {
    return this.#initrds.ask(name);
  }

  /** What is known of initrds, and what is not yet. */
  initrdFigures(): InitrdFigures {
    return this.#initrds.figures();
  }

  /**
   * Judges one answer; when this resolves, the verdict is on disk, or the one before is, and this one equals it. Where it
   * shows that its loader read what nobody knows, it gives the digests of what the node is to be asked for first.
   * @throws Rejection where the evidence is bad: nothing is stored and no state changes
   */
  async judge(node: AttestedNode, answer: Answer): Promise<Judged | WantedFiles> {
    this.#ports.evidence.budget.check(node.name, this.#ports.now());
    const shown = this.proofs.begin(node, answer);
    const before = this.#statuses.get(node.name)?.parts ?? noParts;
    // What needs no waiting is not waited for: each time costs a promise, and most answers need it nowhere.
    const unread = this.#named.unread(answer.parts, before);
    const { parts: all, lost } =
      unread.length === 0
        ? { parts: answer.parts, lost: null }
        : await this.#named.read(node.name, answer.parts, unread, before);
    const { parts, arrived } = withListApart({ ...answer, parts: all });
    const held: Given = {
      loader: this.#files.remembered(node.name, before) ?? (await this.#files.heldFor(node.name, before)),
      initrds: before.initrds === undefined ? noInitrds : await this.#initrdsHeld(node.name, before.initrds),
    };
    if (held.initrds.list !== null) await this.#readAhead(held.initrds);
    const proof = shown(parts);
    if (proof.isHeavy) await proof.turn();
    const started = performance.now();
    const first = proof.with(held);
    this.#ports.duration('verify', (performance.now() - started) / 1000);
    if (lost !== null) throw notSent(lost);
    const { initrds } = held;
    const {
      proven,
      given: loader,
      wanted,
    } = this.#files.explainedBy(node.name, answer, held.loader, first) ??
    (await proof.charged(() =>
      this.#files.explain(
        node.name,
        answer,
        held.loader,
        first,
        (files) => proof.with({ loader: files, initrds }),
        this.#ports.now(),
      ),
    ));
    if (wanted.length > 0) return { files: wanted };
    // With what was read: of a part that only another verdict kept, this one keeps the bytes as well.
    const explained = { node, answer: { ...answer, parts }, proof, proven, given: { loader, initrds } };
    return this.#lanes.inOrder(node.name, () => this.#judgeInTurn(explained, arrived));
  }

  /** What its boot was judged by before. */
  async #initrdsHeld(name: string, digest: string): Promise<GivenInitrds> {
    return this.turns.askInitrds(name, this.status(name), this.#ports.inForce())
      ? this.#initrds.heldFor(name, digest)
      : noInitrds;
  }

  async #judgeInTurn(explained: Explained, arrived: Answer['ima']): Promise<Judged | WantedFiles> {
    const { node, answer, proof, given: held } = explained;
    if (!this.#statuses.has(node.name)) await this.#recallArchived(node.name);
    const inForce = this.#ports.inForce();
    const place = inForce.groupOf(node.name, this.#ports.labelsOf(node.name));
    const looked = this.turns.askInitrds(node.name, this.status(node.name), inForce)
      ? await this.#initrds.look(node.name, explained.proven, answer.initrd ?? notAsked, held.initrds)
      : this.#leave(node.name);
    if (looked.isNew) return this.#askAgain(node.name, held.loader);
    const given: Given = { loader: held.loader, initrds: looked.given };
    if (given.initrds.list !== null) await this.#readAhead(given.initrds);
    const isSame = given.initrds.list?.digest === held.initrds.list?.digest;
    const proven = isSame ? explained.proven : proof.with(given);
    if (given.initrds.list !== null) {
      const { ahead } = this.turns.appraiserOf(this.status(node.name), inForce);
      await inSteps(proof.chargedSteps(ahead(proven, this.#judgedAs(node, answer), this.#ports.now())));
    }
    const listed = this.#imaLists.concerns(node.name, proven, arrived)
      ? await this.#proveList({ ...explained, proven, given }, arrived, inForce)
      : null;
    if (listed === 'again') return this.#askAgain(node.name, held.loader);
    const ima = listed?.kept ?? null;
    const came = keptBytes(answer.parts, given, ima, this.#statuses.get(node.name)?.parts ?? noParts);
    // Parts and pieces may have been written with an answer that came to nothing: these do not give way.
    const hasRoom = await this.#ports.evidence.share.hasRoom(node, came, () => namedBy(answer.parts, ima));
    if (ima !== null && ima.pieces.length > shortPieces) {
      if (!hasRoom) throw this.#ports.evidence.share.full(node.name);
      await this.#keepLong(node, ima.pieces);
    }
    const judged: ProvenWhole = {
      node,
      answer: withIndex(answer, ima),
      proof,
      proven: listed?.proven ?? proven,
      given,
      place,
      ima,
      looked,
      arrived: came,
      hasRoom,
    };
    if (proof.isHeavy) await proof.turn();
    try {
      return await this.#record(judged, inForce);
    } catch (error) {
      // What was not written down was not said, also by a node that was revoked meanwhile.
      const before = this.#statuses.get(node.name);
      this.#systemUuids.restore(node.name, before?.systemUuid ?? null);
      this.#volumes.note(node.name, diskMemoryIn(before?.memory ?? {}).volumes);
      throw error;
    }
  }

  /** Nothing is judged yet, and what explains the loader is at hand then. */
  #askAgain(name: string, loader: GivenFiles): WantedFiles {
    this.#files.keep(name, loader);
    return { files: [] };
  }

  /** What initrds hold may be long: the loop is free while it is read. */
  async #readAhead({ list, manifests }: GivenInitrds): Promise<void> {
    if (list !== null && manifests.size > 0) await inSteps(this.#verifier.readInitrds(list, manifests));
  }

  #judgedAs({ name, tpmClass = 'unknown' }: AttestedNode, answer: Answer): AppraisedNode {
    const previous = this.#statuses.get(name) ?? null;
    const past = { ...noPast, sentParts: sentBefore(previous), memory: previous?.memory ?? {} };
    return { name, labels: this.#ports.labelsOf(name), tpmClass, past, by: answer.by ?? 'agent' };
  }

  /** By the rules of its group nobody looks into its initrds. */
  #leave(name: string): Looked {
    this.#initrds.leave(name);
    return notLookedInto;
  }

  /** The answer proven with its list, which may take long. It was proven without: a stranger has nothing dear done for him. */
  #proveList(
    { node, answer, proof, proven: first, given }: Explained,
    arrived: Answer['ima'],
    inForce: InForce,
  ): ReturnType<ImaLists['prove']> {
    const { name } = node;
    const judged = this.#judgedAs(node, answer);
    const { now } = this.#ports;
    const appraiser = this.turns.appraiserOf(this.status(name), inForce);
    return this.#imaLists.prove(name, first, arrived, {
      judgedTo: () => appraiser.judgedTo(judged),
      pause: () => proof.pause(),
      *prove(ima) {
        const proven = yield* proof.withList(given, ima);
        yield* proof.chargedSteps(appraiser.ahead(proven, judged, now()));
        return proven;
      },
    });
  }

  /** Pieces of a list that are too long for one transaction with a verdict; what is left of a verdict that fails is unused. */
  async #keepLong({ name, ekDigest }: AttestedNode, pieces: KeptIma['pieces']): Promise<void> {
    for (const piece of pieces) {
      await this.#ports.verdicts.keepShared(piece, ekDigest, this.#ports.now());
      this.#imaLists.written(name, [piece]);
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
    this.#files.forget(name);
    this.#imaLists.forget(name);
    this.#initrds.forget(name);
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
    this.#initrds.close();
    await this.#ports.verdicts.settled();
  }

  async #record(whole: ProvenWhole, inForce: InForce): Promise<Judged> {
    const { node, answer, proof, proven, given, place, ima, looked, hasRoom } = whole;
    const { wait, more } = looked;
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
    const parts = partsShown(previous?.parts ?? noParts, answer, given);
    const turn = { verdict, proven, proof, previous, inForce, node: judged, parts, at };
    const trustedBy = this.turns.atOnce(turn) ?? (await this.turns.next(turn));
    // Earlier rules may want to see what those in force do not.
    const enough = turnedIn(trustedBy) === null ? appraised.enough : [];

    const kept = packer.pack(
      node,
      answeredEvidence(answer, given, ima),
      proven,
      {
        at,
        sentParts,
        memory: withoutUnknown(memory),
        labels,
        previous: previousOf(previous, concurrent),
        banks: node.banks ?? undefined,
        imaProblem: ima === null && !enough.includes('ima') ? problemOf(proven) : undefined,
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
    const newBytes = newPartBytes(answer.parts, previous?.parts ?? noParts);
    const isSame = previous !== null && begun === null && saysTheSame(previous, status);
    // An honest node whose share is full of old rows is proven as ever: it has no more of them.
    if (!hasRoom && !(isSame && whole.arrived === 0)) throw share.full(node.name);
    const summary =
      isSame && hasRoom ? this.#rows.summary(previous, status, at, verdict, evidenceIn(kept)) : null;
    if (isSame && summary === null) {
      // Shared with no other answer yet: this part of it stays.
      if (newBytes > 0) budget.take(node.name, newBytes, at);
      this.#repeat(previous, status, kept, at, ima);
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
      this.#imaLists.written(node.name, ima?.pieces ?? []);
      this.#deadlines.set(node.name, status.expiresAt, at);
    }
    this.#faults.forget(node.name);
    this.#ports.answered(verdict);
    const codes = verdict.reasons.map((reason) => reason.code);
    if (answer.by !== 'gate') return { state: verdict.state, codes, enough, more };
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
    return { state: verdict.state, codes, enough, gate, more };
  }

  /** The verdict is the one before: it is shown at once, and written within a second. */
  #repeat(previous: NodeStatus, judged: NodeStatus, evidence: Packed, at: number, ima: KeptIma | null): void {
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
      () => this.#imaLists.written(name, ima?.pieces ?? []),
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

/** An answer that is proven, but for its list, and what explains it. */
interface Explained {
  readonly node: AttestedNode;
  readonly answer: Answer;
  readonly proof: AnswerProof;
  readonly proven: Proven;
  readonly given: Given;
}

/** The same as a whole. */
interface ProvenWhole extends Explained {
  /** The node's group, and those of its labels that count. */
  readonly place: ReturnType<InForce['groupOf']>;
  /** What is kept of the list that came with it; null where nothing of it is. */
  readonly ima: KeptIma | null;
  readonly looked: Pick<Looked, 'wait' | 'more'>;
  /** Bytes that came with it and are kept beside its document; and whether the node's share of the disk has room for these. */
  readonly arrived: number;
  readonly hasRoom: boolean;
}

/** Its own first. */
function evidenceIn({ own: { digest, bytes }, shared }: Packed): ChangeRecord['evidence'] {
  return [{ digest, bytes }, ...shared];
}

const noParts: NodeStatus['parts'] = {};
const notLookedInto: Looked = { given: noInitrds, wait: null, more: false, isNew: false };
const notAsked: ImageAnswer = { speaks: false, asked: null, came: null };

/** Undefined where there is none. */
function problemOf({ ima }: Proven): ImaProblem | undefined {
  if (ima === null || isProvenList(ima)) return undefined;
  return { ...ima, text: ima.text.slice(0, longestProblem) };
}

/** Pieces, of 1 MiB at most, that are written together with a verdict. */
const shortPieces = 2;

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
