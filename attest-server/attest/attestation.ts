import type { AskedAgain } from '../channel/ports.ts';
import { inSteps } from '../formats/in-steps.ts';
import type { FaultCause } from '../formats/server-fault.ts';
import { type AppraisedNode, noPast } from '../policy/appraise.ts';
import { Verifier } from '../verify/verifier.ts';
import type { PartName } from '../wire/evidence.ts';
import { Rejection } from '../wire/rejection.ts';
import { Ageing } from './ageing.ts';
import { type Answer, type AttestedNode, namedBy, withListApart } from './answer.ts';
import { type AnswerProof, AnswerProofs } from './answer-proof.ts';
import { keptBytes } from './answer-size.ts';
import { Commits } from './commits.ts';
import { NamedParts } from './named-parts.ts';
import { sentBefore } from './next-status.ts';
import { NodeLives, type SharedClaims } from './node-lives.ts';
import type { OwnedNode } from './owned-node.ts';
import { OwnedNodes } from './owned-nodes.ts';
import type { AttestPorts, NodeStatus } from './ports.ts';
import { SharedVolumes } from './shared-volumes.ts';
import { supplementList } from './supplements/list.ts';
import type { GivenSupplement } from './supplements/supplement.ts';
import type { SupplementedAnswer } from './supplements/supplemented-answer.ts';
import { Supplements } from './supplements/supplements.ts';
import { SystemUuids } from './system-uuids.ts';
import { Turns } from './turns.ts';
import { Twins } from './twins.ts';
import { type AnswerOutcome, type RecordedAnswer, VerdictRecorder } from './verdict-recorder.ts';
import { VerdictRows } from './verdict-rows.ts';

/**
 * The pipeline: verify, appraise, record, report. What the next verdict of a node needs is in its `OwnedNode`; all of it
 * is read from the store again at a start.
 */
export class Attestation {
  readonly #ports: AttestPorts;
  readonly #verifier = new Verifier();
  readonly #claims: SharedClaims = {
    systemUuids: new SystemUuids(),
    volumes: new SharedVolumes(),
    twins: new Twins(),
  };
  readonly #nodes: OwnedNodes;
  readonly #named: NamedParts;
  readonly #recorder: VerdictRecorder;
  readonly #ageing: Ageing;
  readonly lives: NodeLives;
  readonly supplements: Supplements;
  readonly proofs: AnswerProofs;
  readonly turns: Turns;

  private constructor(ports: AttestPorts) {
    this.#ports = ports;
    const { evidence } = ports;
    const [verifier, claims] = [this.#verifier, this.#claims];
    const nodes = new OwnedNodes([
      claims.systemUuids,
      claims.volumes,
      { release: (name) => this.#releaseShare(name) },
      { release: (name) => supplements.forget(name) },
    ]);
    const turns = new Turns(ports);
    const supplements = new Supplements(supplementList({ ports, nodes, verifier, turns }));
    evidence.share.onGone((digests, name) => supplements.gone(name, digests));
    const rows = new VerdictRows(ports);
    const commits = new Commits(ports, rows);
    this.#nodes = nodes;
    this.supplements = supplements;
    this.turns = turns;
    this.proofs = new AnswerProofs(nodes, verifier, ports);
    this.#named = new NamedParts(verifier, (digest, node) => evidence.readPart(digest, node));
    this.#recorder = new VerdictRecorder(ports, { claims, rows, commits, supplements, turns });
    this.#ageing = new Ageing(ports, nodes, rows, commits);
    this.lives = new NodeLives(ports, { claims, nodes, rows, commits, supplements, verifier });
  }

  /** @param lastAlive as of `NodeLives.start` */
  static async open(ports: AttestPorts, lastAlive: number | null): Promise<Attestation> {
    const attestation = new Attestation(ports);
    await attestation.supplements.open();
    await attestation.lives.start(lastAlive);
    await attestation.turns.prime(attestation.statuses(), ports.inForce());
    return attestation;
  }

  /** Of the disk a TPM has a share, whichever node it is. */
  #releaseShare(name: string): void {
    const ekDigest = this.#nodes.get(name)?.ekDigest ?? null;
    if (ekDigest !== null) this.#ports.evidence.share.forget(ekDigest);
  }

  statuses(): readonly NodeStatus[] {
    return this.#nodes.statuses();
  }

  status(name: string): NodeStatus | null {
    return this.#nodes.get(name)?.status ?? null;
  }

  /** Nodes whose verdicts change, or did within the hour, so often that their rows are joined. */
  flapping(): readonly string[] {
    const now = this.#ports.monotonic();
    return [...this.#nodes.all()].flatMap(({ name, flapping }) =>
      flapping?.isFlapping(now) === true ? [name] : [],
    );
  }

  /** The server failed while it judged this node, or stored what it proved. Of a node that is not known it tells nothing. */
  failed(name: string, error: unknown): void {
    this.#nodes.get(name)?.noteFault(error, this.#ports.monotonic());
  }

  /** Why the node's latest answer failed, if that was a fault of ours; otherwise null. */
  serverFault(name: string): FaultCause | null {
    const { unknownAfter } = this.#ports;
    return this.#nodes.get(name)?.faultAt(this.#ports.monotonic(), unknownAfter) ?? null;
  }

  /** The parts that this node need not send again. */
  heldParts(name: string): NodeStatus['parts'] {
    const node = this.#nodes.get(name);
    return node === undefined ? noParts : this.#named.held(node);
  }

  /** @throws AggregateError as of `Ageing.sweep` */
  sweep(): Promise<void> {
    return this.#ageing.sweep();
  }

  /** Resolves when no verdict is under way, and all are on disk. */
  async idle(): Promise<void> {
    await this.#ageing.writeAllFlaps();
    await this.#nodes.idle();
    this.supplements.close();
    await this.#ports.verdicts.settled();
  }

  /**
   * Judges one answer; when this resolves, the verdict is on disk, or the one before is, and this one equals it. Or the node is to
   * be asked for more of it first, as `supplements.ask` says.
   * @throws Rejection if the evidence is bad: nothing is stored and no state changes
   */
  async judge(peer: AttestedNode, whole: Answer): Promise<AnswerOutcome | AskedAgain> {
    const { name } = peer;
    this.#nodes.get(name)?.budgets?.answers.check(this.#ports.now());
    const shown = this.proofs.begin(peer, whole);
    const node = this.#nodes.of(name);
    try {
      const before = node.status?.parts ?? noParts;
      // What needs no waiting is not waited for: each time costs a promise, and most answers need it nowhere.
      const unread = this.#named.unread(whole.parts, before);
      const { parts, lost } =
        unread.length === 0
          ? { parts: whole.parts, lost: null }
          : await this.#named.read(node, whole.parts, unread, before);
      // With what was read: of a part that only another verdict kept, this one keeps the bytes as well.
      const answer = withListApart(parts === whole.parts ? whole : { ...whole, parts });
      const proof = shown(answer.parts);
      const judge = () => this.#judgeShown(node, { peer, answer, proof }, before, lost);
      return await (proof.isHeavy ? proof.whileHeld(judge) : judge());
    } catch (error) {
      this.#forgetDropped(node, peer);
      throw error;
    }
  }

  async #judgeShown(
    node: OwnedNode,
    shown: ShownAnswer,
    before: NodeStatus['parts'],
    lost: PartName | null,
  ): Promise<AnswerOutcome | AskedAgain> {
    const { name } = node;
    const { peer, answer, proof } = shown;
    const holding = this.supplements.held(name, before);
    const held = holding instanceof Promise ? await holding : holding;
    if (proof.isHeavy) await proof.turn();
    const started = performance.now();
    const first = held.some(isToBeRead) ? await inSteps(proof.steps(held)) : proof.with(held);
    this.#ports.duration('verify', (performance.now() - started) / 1000);
    if (lost !== null) throw notSent(lost);
    const answered = this.supplements.answered({ node: peer, answer, proof, first, held });
    const taking = answered.takeBefore();
    if (taking !== null && (await taking)) {
      this.#forgetDropped(node, peer);
      return askedAgain;
    }
    return this.#nodes.inOrder(name, (current) => this.#judgeInTurn(current, shown, answered));
  }

  /** Of a node that was dropped before it was its turn nothing stays. */
  #forgetDropped(node: OwnedNode, { name, ak }: AttestedNode): void {
    const current = this.#nodes.get(name);
    if (current === node) return;
    this.#verifier.forget(ak.name);
    if (current === undefined) this.supplements.forget(name);
  }

  async #judgeInTurn(
    node: OwnedNode,
    shown: ShownAnswer,
    answered: SupplementedAnswer,
  ): Promise<AnswerOutcome | AskedAgain> {
    const { peer, answer, proof } = shown;
    const { name } = node;
    const { evidence } = this.#ports;
    if (node.status === null) await this.lives.recallArchived(node);
    const inForce = this.#ports.inForce();
    const place = inForce.groupOf(name, this.#ports.labelsOf(name));
    const seen = this.#seen(node, shown);
    const appraiser = this.turns.appraiserOf(node.status, inForce);
    const proving = answered.whole({
      judgedTo: () => appraiser.judgedTo(seen),
      ahead: (proven) => appraiser.ahead(proven, seen, this.#ports.now()),
    });
    const whole = proving instanceof Promise ? await proving : proving;
    if (whole === null) return askedAgain;
    const { kept } = whole;
    const arrived = keptBytes(answer.parts, kept, node.status?.parts ?? noParts);
    // Parts and pieces may have been written with an answer that came to nothing: these do not give way.
    const hasRoom = await evidence.share.hasRoom(peer, arrived, () => namedBy(answer.parts, kept));
    for (const one of kept)
      if (one.isLong) {
        if (!hasRoom) throw evidence.share.full(name);
        await this.#recorder.keepLong(peer, one);
      }
    const recorded: RecordedAnswer = { ...whole, ...shown, place, arrived, hasRoom };
    if (proof.isHeavy) await proof.turn();
    try {
      return await this.#recorder.record(node, recorded, inForce, seen);
    } catch (error) {
      this.lives.takeBack(node, peer.ak.name, error);
      throw error;
    }
  }

  /** As the aspects see it, without what only a whole answer says. */
  #seen({ name, status }: OwnedNode, { peer, answer }: ShownAnswer): AppraisedNode {
    const past = { ...noPast, sentParts: sentBefore(status), memory: status?.memory ?? {} };
    const { tpmClass = 'unknown' } = peer;
    return { name, labels: this.#ports.labelsOf(name), tpmClass, past, by: answer.by };
  }
}

const noParts: NodeStatus['parts'] = {};

const askedAgain: AskedAgain = { again: true };

/** One answer, and who gave it. */
interface ShownAnswer {
  readonly peer: AttestedNode;
  readonly answer: Answer;
  readonly proof: AnswerProof;
}

/** Whether a supplement must be read in steps. Contents of initrds and loaders may be long, and the event loop stays free meanwhile. */
function isToBeRead(given: GivenSupplement | null): boolean {
  return given !== null && given.files.size > 0;
}

/** Also where the verifier remembers it of another node: what a verdict rests on must be kept. */
function notSent(part: PartName): Rejection {
  const field = `parts.${part}`;
  return new Rejection('malformed', `the evidence names ${field}, which was not sent`, { field });
}
