import type { WantedFiles } from '../channel/ports.ts';
import type { EnrolledNode } from '../enrolment/ports.ts';
import { type AppraisedNode, noPast } from '../policy/appraise.ts';
import type { PartName } from '../protocol/evidence.ts';
import type { ImagePlace, ListPlace, PcrBank } from '../protocol/messages.ts';
import { Rejection } from '../protocol/rejection.ts';
import type { FaultCause } from '../protocol/server-fault.ts';
import { Verifier } from '../verify/verifier.ts';
import { Ageing } from './ageing.ts';
import { type Answer, type AttestedNode, type Given, namedBy, withIndex, withListApart } from './answer.ts';
import { AnswerProofs } from './answer-proof.ts';
import { keptBytes } from './answer-size.ts';
import { Commits } from './commits.ts';
import type { InitrdFigures } from './initrds.ts';
import { type ExplainedProof, LongEvidence } from './long-evidence.ts';
import { NamedParts } from './named-parts.ts';
import { sentBefore } from './next-status.ts';
import { NodeLives, type SharedClaims } from './node-lives.ts';
import type { OwnedNode } from './owned-node.ts';
import { OwnedNodes } from './owned-nodes.ts';
import type { AttestPorts, NodeStatus } from './ports.ts';
import { SharedVolumes } from './shared-volumes.ts';
import { SystemUuids } from './system-uuids.ts';
import { Turns } from './turns.ts';
import { Twins } from './twins.ts';
import { type Judged, VerdictRecorder, type WholeAnswer } from './verdict-recorder.ts';
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
  readonly #long: LongEvidence;
  readonly #named: NamedParts;
  readonly #recorder: VerdictRecorder;
  readonly #ageing: Ageing;
  readonly #lives: NodeLives;
  readonly proofs: AnswerProofs;
  readonly turns: Turns;

  private constructor(ports: AttestPorts) {
    this.#ports = ports;
    const { evidence } = ports;
    const [verifier, claims] = [this.#verifier, this.#claims];
    const nodes = new OwnedNodes(
      [claims.systemUuids, claims.volumes, { release: (name) => this.#releaseShare(name) }],
      (name) => [{ release: () => long.release(name) }],
    );
    const turns = new Turns(ports);
    const long = new LongEvidence(ports, verifier, turns, nodes);
    const rows = new VerdictRows(ports);
    const commits = new Commits(ports, rows);
    this.#nodes = nodes;
    this.#long = long;
    this.turns = turns;
    this.proofs = new AnswerProofs(nodes, verifier, ports);
    this.#named = new NamedParts(verifier, (digest, node) => evidence.readPart(digest, node));
    this.#recorder = new VerdictRecorder(ports, { claims, rows, commits, long, turns });
    this.#ageing = new Ageing(ports, nodes, rows, commits);
    this.#lives = new NodeLives(ports, { claims, nodes, rows, commits, long, verifier });
  }

  /** @param lastAlive as of `NodeLives.start` */
  static async open(ports: AttestPorts, lastAlive: number | null): Promise<Attestation> {
    const attestation = new Attestation(ports);
    await attestation.#long.restore();
    await attestation.#lives.start(lastAlive);
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

  /** Why the node's latest answer came to nothing, where that was a fault of ours; else null. */
  serverFault(name: string): FaultCause | null {
    const { unknownAfter } = this.#ports;
    return this.#nodes.get(name)?.faultAt(this.#ports.monotonic(), unknownAfter) ?? null;
  }

  /** The parts that this node need not send again. */
  heldParts(name: string): NodeStatus['parts'] {
    const node = this.#nodes.get(name);
    return node === undefined ? noParts : this.#named.held(node);
  }

  /** What the server asks for beside an answer; as of `LongEvidence`. */
  imaList(name: string): ListPlace | null {
    return this.#long.imaList(name);
  }

  initrd(name: string): ImagePlace | null {
    return this.#long.initrd(name);
  }

  initrdFigures(): InitrdFigures {
    return this.#long.initrdFigures();
  }

  /** As of `NodeLives`, like those that follow. */
  recall(name: string): Promise<NodeStatus | null> {
    return this.#lives.recall(name);
  }

  archive(names: readonly string[], work: () => Promise<readonly string[]>): Promise<void> {
    return this.#lives.archive(names, work);
  }

  release(name: string, work: () => Promise<void>, akName?: string): Promise<void> {
    return this.#lives.release(name, work, akName);
  }

  approveAgain(name: string, actor: string): Promise<boolean> {
    return this.#lives.approveAgain(name, actor);
  }

  endTrialOf(names: readonly string[]): Promise<void> {
    return this.#lives.endTrialOf(names);
  }

  fixBanks(record: EnrolledNode, shown: readonly PcrBank[]): Promise<void> {
    return this.#lives.fixBanks(record, shown);
  }

  /** @throws AggregateError as of `Ageing.sweep` */
  sweep(): Promise<void> {
    return this.#ageing.sweep();
  }

  /** Resolves when no verdict is under way, and all are on disk. */
  async idle(): Promise<void> {
    await this.#ageing.writeAllFlaps();
    await this.#nodes.idle();
    this.#long.close();
    await this.#ports.verdicts.settled();
  }

  /**
   * Judges one answer; when this resolves, the verdict is on disk, or the one before is, and this one equals it. Where it
   * shows that its loader read what nobody knows, it gives the digests of what the node is to be asked for first.
   * @throws Rejection where the evidence is bad: nothing is stored and no state changes
   */
  async judge(peer: AttestedNode, answer: Answer): Promise<Judged | WantedFiles> {
    const { name } = peer;
    this.#nodes.get(name)?.budgets?.answers.check(this.#ports.now());
    const shown = this.proofs.begin(peer, answer);
    const node = this.#nodes.of(name);
    try {
      const before = node.status?.parts ?? noParts;
      // What needs no waiting is not waited for: each time costs a promise, and most answers need it nowhere.
      const unread = this.#named.unread(answer.parts, before);
      const { parts: all, lost } =
        unread.length === 0
          ? { parts: answer.parts, lost: null }
          : await this.#named.read(node, answer.parts, unread, before);
      const { parts, arrived } = withListApart({ ...answer, parts: all });
      const held = this.#long.remembered(node) ?? (await this.#long.heldFor(node));
      const proof = shown(parts);
      if (proof.isHeavy) await proof.turn();
      const started = performance.now();
      const first = { peer, answer, proof, proven: proof.with(held), given: held };
      this.#ports.duration('verify', (performance.now() - started) / 1000);
      if (lost !== null) throw notSent(lost);
      const { proven, given, wanted } = this.#long.explainedBy(first) ?? (await this.#long.explain(first));
      if (wanted.length > 0) return { files: wanted };
      // With what was read: of a part that only another verdict kept, this one keeps the bytes as well.
      const whole = { ...answer, parts };
      const explained = { peer, answer: whole, proof, proven, given: { ...held, loader: given } };
      return this.#nodes.inOrder(name, (current) => this.#judgeInTurn(current, explained, arrived));
    } catch (error) {
      // Its node was dropped meanwhile: nothing of it stays.
      if (this.#nodes.get(name) !== node) this.#verifier.forget(peer.ak.name);
      throw error;
    }
  }

  async #judgeInTurn(
    node: OwnedNode,
    explained: ExplainedProof,
    arrived: Answer['ima'],
  ): Promise<Judged | WantedFiles> {
    const { peer, answer, proof, given: held } = explained;
    const { name } = node;
    const { evidence } = this.#ports;
    if (node.status === null) await this.#lives.recallArchived(node);
    const inForce = this.#ports.inForce();
    const place = inForce.groupOf(name, this.#ports.labelsOf(name));
    const seen = this.#seen(node, explained);
    const asked = this.#long.initrdsOf(node, explained, inForce);
    const looked = asked instanceof Promise ? await asked : asked;
    if (looked.isNew) return this.#long.askAgain(node, held);
    const given: Given = { loader: held.loader, initrds: looked.given };
    const isWithout = looked.given.list === null && held.initrds.list === null;
    const proven = isWithout
      ? explained.proven
      : await this.#long.withInitrds(node, explained, looked.given, inForce, seen);
    const listed = this.#long.concernsList(node, proven, arrived)
      ? await this.#long.proveList(node, { ...explained, proven, given }, arrived, inForce, seen)
      : null;
    if (listed === 'again') return this.#long.askAgain(node, held);
    const ima = listed?.kept ?? null;
    const came = keptBytes(answer.parts, given, ima, node.status?.parts ?? noParts);
    // Parts and pieces may have been written with an answer that came to nothing: these do not give way.
    const hasRoom = await evidence.share.hasRoom(peer, came, () => namedBy(answer.parts, ima));
    if (ima !== null && ima.pieces.length > shortPieces) {
      if (!hasRoom) throw evidence.share.full(name);
      await this.#long.keepLong(peer, ima.pieces);
    }
    const whole: WholeAnswer = {
      peer,
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
      return await this.#recorder.record(node, whole, inForce, seen);
    } catch (error) {
      this.#lives.takeBack(node, peer.ak.name, error);
      throw error;
    }
  }

  /** As the aspects see it, but for what only a whole answer says. */
  #seen({ name, status }: OwnedNode, { peer, answer }: ExplainedProof): AppraisedNode {
    const past = { ...noPast, sentParts: sentBefore(status), memory: status?.memory ?? {} };
    const { tpmClass = 'unknown' } = peer;
    return { name, labels: this.#ports.labelsOf(name), tpmClass, past, by: answer.by ?? 'agent' };
  }
}

const noParts: NodeStatus['parts'] = {};

/** Pieces, of 1 MiB at most, that are written together with a verdict. */
const shortPieces = 2;

/** Also where the verifier remembers it of another node: what a verdict rests on must be kept. */
function notSent(part: PartName): Rejection {
  const field = `parts.${part}`;
  return new Rejection('malformed', `the evidence names ${field}, which was not sent`, { field });
}
