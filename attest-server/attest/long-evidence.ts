import type { WantedFiles } from '../channel/ports.ts';
import type { InForce } from '../in-force/in-force.ts';
import type { AppraisedNode } from '../policy/appraise.ts';
import { inSteps } from '../protocol/in-steps.ts';
import type { ImagePlace, ListPlace } from '../protocol/messages.ts';
import type { Proven } from '../verify/proven.ts';
import type { Verifier } from '../verify/verifier.ts';
import type { Answer, AttestedNode, Given } from './answer.ts';
import type { AnswerProof } from './answer-proof.ts';
import { ImaLists, type KeptIma, type ProvenAnswer } from './ima-lists.ts';
import { imageReader } from './image-reader.ts';
import {
  type GivenInitrds,
  type ImageAnswer,
  type InitrdFigures,
  Initrds,
  type Looked,
  noInitrds,
} from './initrds.ts';
import { type ExplainedAnswer, LoaderFiles } from './loader-files.ts';
import type { OwnedNode } from './owned-node.ts';
import type { OwnedNodes } from './owned-nodes.ts';
import type { AttestPorts, NodeStatus } from './ports.ts';
import type { Turns } from './turns.ts';

/** An answer that is proven, but for its list, and what explains it. */
export interface ExplainedProof {
  /** Who answered. */
  readonly peer: AttestedNode;
  readonly answer: Answer;
  readonly proof: AnswerProof;
  readonly proven: Proven;
  readonly given: Given;
}

/** What the server asks a node for beside an answer, in as many as it takes: files of its loader, IMA's list, initrds. */
export class LongEvidence {
  readonly #ports: AttestPorts;
  readonly #verifier: Verifier;
  readonly #turns: Turns;
  readonly #files: LoaderFiles;
  readonly #imaLists: ImaLists;
  readonly #initrds: Initrds;

  constructor(ports: AttestPorts, verifier: Verifier, turns: Turns, nodes: OwnedNodes) {
    this.#ports = ports;
    this.#verifier = verifier;
    this.#turns = turns;
    const { evidence, initrds: store, initrdUploads: uploads, initrdManifests: mostBytes } = ports;
    const { share } = evidence;
    const readPart: typeof evidence.readPart = (digest, node) => evidence.readPart(digest, node);
    this.#files = new LoaderFiles(
      {
        hold: (digest, bytes) => evidence.hold(digest, bytes),
        readPart,
        takeFiles(name, bytes, at) {
          const node = nodes.get(name);
          // It was dropped meanwhile.
          if (node === undefined) return;
          node.budgets ??= evidence.budgetsOf(name);
          node.budgets.files.take(bytes, at);
        },
      },
      verifier,
    );
    this.#imaLists = new ImaLists({
      verifier,
      // One that cannot be read is as good as gone: the node has it still.
      readPiece: (digest, node) =>
        evidence.readPiece(digest, node).catch((error: unknown) => {
          ports.fault(error, 'ima');
          return null;
        }),
      most: ports.imaList,
      sealEvery: ports.summaryEvery,
      monotonic: () => ports.monotonic(),
    });
    this.#initrds = new Initrds({
      store,
      keepShared: (blob, ekDigest, at) => ports.verdicts.keepShared(blob, ekDigest, at),
      hasRoom: (node, bytes) => share.hasRoom(node, bytes, () => []),
      readPart,
      verifier,
      reader: imageReader,
      uploads,
      mostBytes,
      answerWithin: ports.answerWithin,
      unknownAfter: ports.unknownAfter,
      now: () => ports.now(),
      monotonic: () => ports.monotonic(),
      called: (node) => ports.askAgain(node),
    });
    share.onGone((digests, name) => {
      this.#initrds.gone(digests);
      this.#imaLists.gone(name, digests);
    });
  }

  /** Goes on with what is kept. */
  restore(): Promise<void> {
    return this.#initrds.restore();
  }

  /** The same of one node. */
  restoreOf(status: NodeStatus): Promise<void> {
    return this.#imaLists.restore(status);
  }

  release(name: string): void {
    this.#files.forget(name);
    this.#imaLists.forget(name);
    this.#initrds.forget(name);
  }

  close(): void {
    this.#initrds.close();
  }

  /** Where the node's list of what ran is to go on; null where it is not asked for at present. */
  imaList(name: string): ListPlace | null {
    return this.#imaLists.ask(name);
  }

  /** Where an initrd that the node booted is to go on; null where none is asked for at present. */
  initrd(name: string): ImagePlace | null {
    return this.#initrds.ask(name);
  }

  initrdFigures(): InitrdFigures {
    return this.#initrds.figures();
  }

  /** What explained the node's boot before; null where some of that must be read. */
  remembered({ name, status }: OwnedNode): Given | null {
    const parts = status?.parts ?? noParts;
    const loader = parts.initrds === undefined ? this.#files.remembered(name, parts) : null;
    return loader === null ? null : { loader, initrds: noInitrds };
  }

  /** The same, read. */
  async heldFor({ name, status }: OwnedNode): Promise<Given> {
    const parts = status?.parts ?? noParts;
    const loader = this.#files.remembered(name, parts) ?? (await this.#files.heldFor(name, parts));
    const isAsked =
      parts.initrds !== undefined && this.#turns.askInitrds(name, status, this.#ports.inForce());
    const initrds = isAsked ? await this.#initrds.heldFor(name, parts.initrds) : noInitrds;
    await this.#readAhead(initrds);
    return { loader, initrds };
  }

  /** Whether the files of its loader are known, or were asked for in vain: then the answer; else null. */
  explainedBy({ peer, answer, proven, given }: ExplainedProof): ExplainedAnswer | null {
    return this.#files.explainedBy(peer.name, answer, given.loader, proven);
  }

  /** As `LoaderFiles.explain`. */
  explain({
    peer,
    answer,
    proof,
    proven,
    given: { loader, initrds },
  }: ExplainedProof): Promise<ExplainedAnswer> {
    return proof.charged(() =>
      this.#files.explain(
        peer.name,
        answer,
        loader,
        proven,
        (files) => proof.with({ loader: files, initrds }),
        this.#ports.now(),
      ),
    );
  }

  /** What is known of the initrds that it booted. By the rules of its group nobody may look into these. */
  initrdsOf(
    { name, status }: OwnedNode,
    { answer, proven, given }: ExplainedProof,
    inForce: InForce,
  ): Looked | Promise<Looked> {
    if (this.#turns.askInitrds(name, status, inForce))
      return this.#initrds.look(name, proven, answer.initrd ?? notAsked, given.initrds);
    this.#initrds.leave(name);
    return notLookedInto;
  }

  /** Proven with these initrds, which the aspects have looked at by then. */
  async withInitrds(
    { status }: OwnedNode,
    { proof, proven: first, given }: ExplainedProof,
    initrds: GivenInitrds,
    inForce: InForce,
    seen: AppraisedNode,
  ): Promise<Proven> {
    await this.#readAhead(initrds);
    const isSame = initrds.list?.digest === given.initrds.list?.digest;
    const proven = isSame ? first : proof.with({ loader: given.loader, initrds });
    if (initrds.list === null) return proven;
    const { ahead } = this.#turns.appraiserOf(status, inForce);
    await inSteps(proof.chargedSteps(ahead(proven, seen, this.#ports.now())));
    return proven;
  }

  /** Nothing is judged yet, and what explains the loader is at hand then. */
  askAgain({ name }: OwnedNode, { loader }: Given): WantedFiles {
    this.#files.keep(name, loader);
    return { files: [] };
  }

  concernsList({ name }: OwnedNode, proven: Proven, arrived: Answer['ima']): boolean {
    return this.#imaLists.concerns(name, proven, arrived);
  }

  /** The answer proven with its list, which may take long. It was proven without: a stranger has nothing dear done for him. */
  proveList(
    { name, status }: OwnedNode,
    { proof, proven: first, given }: ExplainedProof,
    arrived: Answer['ima'],
    inForce: InForce,
    seen: AppraisedNode,
  ): Promise<ProvenAnswer | 'again' | null> {
    const now = () => this.#ports.now();
    const appraiser = this.#turns.appraiserOf(status, inForce);
    return this.#imaLists.prove(name, first, arrived, {
      judgedTo: () => appraiser.judgedTo(seen),
      pause: () => proof.pause(),
      *prove(ima) {
        const proven = yield* proof.withList(given, ima);
        yield* proof.chargedSteps(appraiser.ahead(proven, seen, now()));
        return proven;
      },
    });
  }

  /** Pieces of a list that are too long for one transaction with a verdict; what is left of a verdict that fails is unused. */
  async keepLong({ name, ekDigest }: AttestedNode, pieces: KeptIma['pieces']): Promise<void> {
    for (const piece of pieces) {
      await this.#ports.verdicts.keepShared(piece, ekDigest, this.#ports.now());
      this.written(name, [piece]);
    }
  }

  /** These are on the disk. */
  written(name: string, pieces: KeptIma['pieces']): void {
    this.#imaLists.written(name, pieces);
  }

  /** What initrds hold may be long: the loop is free while it is read. */
  async #readAhead({ list, manifests }: GivenInitrds): Promise<void> {
    if (list !== null && manifests.size > 0) await inSteps(this.#verifier.readInitrds(list, manifests));
  }
}

const noParts: NodeStatus['parts'] = {};
const notLookedInto: Looked = { given: noInitrds, wait: null, more: false, isNew: false };
const notAsked: ImageAnswer = { speaks: false, asked: null, came: null };
