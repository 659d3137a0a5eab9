import type { PackedAnswer } from '../evidence/pack.ts';
import { longestProblem } from '../formats/bundle.ts';
import { turnedIn } from '../formats/our-change.ts';
import type { InForce } from '../in-force/in-force.ts';
import type { KeyAnswer, KeyDecision } from '../keys/ports.ts';
import type { AppraisedNode, BootTransition } from '../policy/appraise.ts';
import { wasCapped } from '../policy/cap.ts';
import { addsNothing, gateOrderOf } from '../policy/gate.ts';
import { withoutUnknown } from '../policy/kept-unknown.ts';
import { type ImaProblem, isProvenList } from '../verify/ima/proven-list.ts';
import type { Proven } from '../verify/proven.ts';
import type { PartName } from '../wire/evidence.ts';
import type { GateOrder } from '../wire/gate.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import { Rejection } from '../wire/rejection.ts';
import { type Role, roles } from '../wire/roles.ts';
import type { NodeState, Verdict } from '../wire/verdict.ts';
import { type Answer, type AttestedNode, answeredEvidence, partsWith } from './answer.ts';
import type { AnswerProof } from './answer-proof.ts';
import { newPartBytes } from './answer-size.ts';
import type { Commits } from './commits.ts';
import { nextStatus, partsShown, sentBefore } from './next-status.ts';
import type { SharedClaims } from './node-lives.ts';
import { isConcurrent, previousOf, sequenceOf } from './node-sequence.ts';
import type { OwnedNode } from './owned-node.ts';
import type { AttestPorts, ChangeRecord, NodeStatus } from './ports.ts';
import { saysTheSame, withTextsOf } from './same-verdict.ts';
import type { KeptSupplement } from './supplements/supplement.ts';
import type { WholeAnswer } from './supplements/supplemented-answer.ts';
import type { Supplements } from './supplements/supplements.ts';
import type { Turns } from './turns.ts';
import type { VerdictRows } from './verdict-rows.ts';

/** Outcome of an answer. */
export interface AnswerOutcome {
  readonly state: NodeState;
  readonly codes: readonly ReasonCode[];
  /** It is asked again at once: an initrd of its is on the way. */
  readonly more: boolean;
  /** Parts that its connection need not show again. */
  readonly enough: readonly PartName[];
  /** To a gate alone. */
  readonly gate?: GateOrder;
  /** To an answer with a key request alone. */
  readonly key?: KeyAnswer;
}

/** An answer that is proven as a whole. */
export interface RecordedAnswer extends WholeAnswer {
  readonly peer: AttestedNode;
  readonly answer: Answer;
  readonly proof: AnswerProof;
  /** The node's group, and those of its labels that count. */
  readonly place: ReturnType<InForce['groupOf']>;
  /** Bytes that came with it and are kept beside its document; and whether the node's share of the disk has room for these. */
  readonly arrived: number;
  readonly hasRoom: boolean;
}

interface RecorderParts {
  readonly claims: SharedClaims;
  readonly supplements: Supplements;
  readonly rows: VerdictRows;
  readonly commits: Commits;
  readonly turns: Turns;
}

/** Appraises what is proven, and has it written: as a change, as one more that is equal, or as nothing new. */
export class VerdictRecorder {
  readonly #ports: AttestPorts;
  readonly #parts: RecorderParts;

  constructor(ports: AttestPorts, parts: RecorderParts) {
    this.#ports = ports;
    this.#parts = parts;
  }

  /**
   * @param seen the node as its answer was looked at so far
   * @throws what the store throws: then what the answer claimed beside others is to be taken back
   */
  async record(
    node: OwnedNode,
    whole: RecordedAnswer,
    inForce: InForce,
    seen: AppraisedNode,
  ): Promise<AnswerOutcome> {
    const { peer, answer, proven, kept: given, place, wait, hasRoom } = whole;
    const { judging } = whole.proof;
    const { name } = node;
    const { turns, rows } = this.#parts;
    // What cannot be stored is not said.
    const fault = this.#ports.storageFault();
    if (fault !== null) throw fault;
    const at = this.#ports.now();
    const { packer, share } = this.#ports.evidence;
    const previous = node.latest;
    const started = performance.now();
    const { group, labels } = place;
    const { challengedAt } = answer;
    const concurrent = isConcurrent(previous, { challengedAt, clock: proven.clock.clock });
    const sentParts = sentBefore(previous);
    const memory = previous?.memory ?? {};
    const { systemUuid, ...claimed } = this.#claim(node, whole);
    const past = {
      sequence: previous === null ? null : sequenceOf(previous),
      concurrent,
      ...claimed,
      sentParts,
      memory,
      hasLease: this.#ports.hasLease(peer.ekDigest),
      ...(wait !== null && { initrdWait: wait }),
    };
    const judged = { ...seen, past };
    const { verdict, begun, next, ...appraised } = judging.charged(() =>
      inForce.appraise(proven, judged, at),
    );
    this.#ports.duration('appraise', (performance.now() - started) / 1000);
    const shown = partsWith(answer.parts, given);
    const parts = partsShown(previous?.parts ?? noParts, shown);
    const turn = { verdict, proven, judging, previous, inForce, node: judged, parts, at };
    const trustedBy = turns.atOnce(turn) ?? (await turns.next(turn));
    // Earlier rules may want to see what those in force do not.
    const enough = turnedIn(trustedBy) === null ? appraised.enough : [];

    const kept = packer.pack(
      peer,
      answeredEvidence(answer, given),
      proven,
      {
        at,
        sentParts,
        memory: withoutUnknown(memory),
        labels,
        previous: previousOf(previous, concurrent),
        banks: peer.banks ?? undefined,
        imaProblem: shown.ima === undefined && !enough.includes('ima') ? problemOf(proven) : undefined,
        by: answer.by,
        trial: verdict.trial,
      },
      inForce.context,
    );
    const status = nextStatus(peer, verdict, {
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
    const key = await this.#decideKey(whole, verdict, status);
    const isNew = key?.isNews === true;
    const newBytes = newPartBytes(shown, previous?.parts ?? noParts);
    const isSame = !isNew && previous !== null && begun === null && saysTheSame(previous, status);
    // An honest node whose share is full of old rows is still proven: it just gets no more rows.
    if (!hasRoom && !(isSame && whole.arrived === 0)) throw share.full(name);
    const summary =
      isSame && hasRoom ? rows.summary(node, previous, status, at, verdict, evidenceIn(kept)) : null;
    if (isSame && summary === null) {
      // Shared with no other answer yet: this part of it stays.
      this.#take(node, newBytes, at);
      this.#repeat(node, previous, status, kept, at, given);
    } else if (
      !isSame &&
      isKnown(previous, begun, verdict, answer.by) &&
      (!isNew || previous.state === 'trusted')
    ) {
      // The agent has proven as much, and more: that stays, and holds no longer for this.
      this.#take(node, newBytes + (isNew ? kept.own.bytes.length : 0), at);
      if (isNew) await this.#keepBeside(node, previous, kept, at);
    } else {
      const from = previous?.state ?? null;
      const verdicts = begun?.verdict ? [begun.verdict, verdict] : [verdict];
      const change = summary ?? rows.changed(node, status, at, verdicts, from, evidenceIn(kept), isNew);
      // Joined changes keep only the latest evidence, which replaces the earlier one.
      const own = change.bytes === 0 ? 0 : kept.own.bytes.length + change.bytes;
      this.#take(node, own + newBytes, at);
      await this.#parts.commits.commit(node, change, from);
      this.#parts.supplements.written(name, given);
      node.setDeadline(status.expiresAt, at, this.#ports.monotonic());
    }
    node.endFault();
    this.#ports.answered(verdict);
    const codes = verdict.reasons.map((reason) => reason.code);
    const said = {
      state: verdict.state,
      codes,
      enough,
      more: whole.asks,
      ...(key !== null && { key: await key.carryOut(kept.own.digest) }),
    };
    if (!roles[answer.by].gets.includes('gateOrder')) return said;
    const gate = gateOrderOf(verdict, group);
    this.#tellOpened(name, gate, proven, kept, verdict);
    return { ...said, gate };
  }

  /** Writes bytes that are too long for one transaction with a verdict. If that verdict fails, they stay unused. */
  async keepLong({ name, ekDigest }: AttestedNode, kept: KeptSupplement): Promise<void> {
    for (const piece of kept.blobs) {
      await this.#ports.verdicts.keepShared(piece, ekDigest, this.#ports.now());
      this.#parts.supplements.written(name, [{ ...kept, blobs: [piece] }]);
    }
  }

  /** Null for an answer without a key request, and for one that is asked for another part of its evidence. */
  async #decideKey(
    { peer, answer, proven, place, asks }: RecordedAnswer,
    verdict: Verdict,
    { memory }: NodeStatus,
  ): Promise<KeyDecision | null> {
    const { keyRequest, nonce, address = null } = answer;
    if (keyRequest === undefined || asks) return null;
    const { group } = place;
    return this.#ports.decideKey({
      node: peer,
      keyRequest,
      nonce,
      address,
      proven,
      verdict,
      group,
      wasCapped: wasCapped(memory, proven),
    });
  }

  /** Registers this answer's claims of shared facts, and returns what all nodes claim of them. */
  #claim(node: OwnedNode, { answer, proven }: RecordedAnswer) {
    const { systemUuids, volumes, twins } = this.#parts.claims;
    const { name, latest } = node;
    const { uuid: systemUuid, others } = systemUuids.claim(name, proven.facts?.host?.systemUuid);
    // The part that came before shows what it showed before.
    const isShown =
      roles[answer.by].proves.includes('disk') && proven.parts.disk?.digest !== latest?.parts.disk;
    return {
      systemUuid,
      twins: twins.of(name),
      // What many machines show names none.
      clusterUuid: systemUuid === null ? null : this.#ports.systemUuidOf(name),
      sameUuid: others,
      sharedVolumes: isShown ? volumes.claimShown(name, proven) : volumes.sharedBy(name),
    };
  }

  #take(node: OwnedNode, bytes: number, at: number): void {
    if (bytes === 0) return;
    node.budgets ??= this.#ports.evidence.budgetsOf(node.name);
    node.budgets.answers.take(bytes, at);
  }

  /** Keeps the evidence of a decision on a key, which leaves the node's verdict as it is. */
  async #keepBeside(node: OwnedNode, status: NodeStatus, kept: PackedAnswer, at: number): Promise<void> {
    const record = { status, at, evidence: evidenceIn(kept), history: [], audit: [] };
    await this.#parts.commits.commit(node, { record, told: [] }, status.state);
  }

  /** The verdict is the one before: it is shown at once, and written within a second. */
  #repeat(
    node: OwnedNode,
    previous: NodeStatus,
    judged: NodeStatus,
    evidence: PackedAnswer,
    at: number,
    given: readonly KeptSupplement[],
  ): void {
    const { name } = node;
    if (previous.verdict === null) return;
    const verdict = withTextsOf(judged.verdict, previous.verdict);
    const status = { ...judged, verdict, verifiedAt: at, repeats: previous.repeats + 1 };
    // What was written may have failed, and been taken back, while this one was judged.
    const before = node.proofIn(node.latest ?? previous);
    node.status = status;
    node.stored = null;
    node.setDeadline(status.expiresAt, at, this.#ports.monotonic());
    const { digest } = evidence.own;
    const written = this.#ports.verdicts.recordRepeat({ ...status, evidenceDigest: digest, evidence });
    node.follow(before, node.proofIn(status), written).then(
      () => this.#parts.supplements.written(name, given),
      (error: unknown) => {
        // Of a node that was revoked meanwhile nothing is to be stored.
        if (!(error instanceof Rejection)) node.noteFault(error, this.#ports.monotonic());
        this.#ports.fault(error, 'verdict');
      },
    );
    this.#ports.recorded(
      { node: name, at, verdict, evidenceDigest: digest, transition: false, repeats: 0, since: at },
      status.state,
    );
  }

  #tellOpened(
    node: string,
    gate: GateOrder,
    { clock: { resetCount, restartCount }, facts }: Proven,
    kept: PackedAnswer,
    { policy }: Verdict,
  ): void {
    if (!gate.proven && gate.mode !== 'observe') return;
    this.#ports.gateOpened({
      node,
      why: gate.mode === 'observe' ? 'observe' : 'affirmed',
      bootId: facts?.bootId ?? null,
      boot: `${resetCount}.${restartCount}`,
      evidence: gate.proven ? kept.own.digest : null,
      policy,
    });
  }
}

const noParts: NodeStatus['parts'] = {};

/** Its own first. */
function evidenceIn({ own: { digest, bytes }, shared }: PackedAnswer): ChangeRecord['evidence'] {
  return [{ digest, bytes }, ...shared];
}

/** Undefined if there is none. */
function problemOf({ ima }: Proven): ImaProblem | undefined {
  if (ima === null || isProvenList(ima)) return undefined;
  return { ...ima, text: ima.text.slice(0, longestProblem) };
}

/** Whether a role that makes no node trusted speaks of a boot that was judged before, with the same result. */
function isKnown(
  previous: NodeStatus | null,
  begun: BootTransition | null,
  verdict: Verdict,
  by: Role,
): previous is NodeStatus {
  const before = previous?.verdict ?? null;
  if (roles[by].makesTrusted || before === null || (begun?.verdict ?? null) !== null) return false;
  return addsNothing(before, verdict, by);
}
