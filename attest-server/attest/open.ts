/**
 * The pipeline, in order: verify -> appraise -> commit -> report (`attestation`). A node is an object
 * (`owned-node`): its turn, status, deadline, fault, what is not written yet, what judging it cost
 * (`judging-time`), and which of its changes have rows (`flapping`). `owned-nodes` has those that this server
 * owns, and forgets one by dropping it. `node-lives` takes nodes into memory, archives and releases them;
 * `ageing` does what time does to them.
 *
 * Knowledge that only many nodes give lies beside them (`among-nodes`: `twins`, `system-uuids`,
 * `shared-volumes`), each with claim, restore and release.
 *
 * Of one answer: parts that it only names (`named-parts`), and how much it brings (`answer-size`); its proof,
 * charged to its node (`answer-proof`), and turns of what takes long (`heavy-turns`); its verdict
 * (`verdict-recorder`), which rows that has (`verdict-rows`), what is in them (`verdict-record`), and how they
 * are written and told (`commits`); which verdicts turned by a change of ours, and not by the node (`turns`);
 * which openings of gates are news (`gate-openings`). `sweeper` looks for what is overdue.
 */

import type { AskedPeer, Judgement, JudgeRequest } from '../channel/ports.ts';
import type { EnrolledNode } from '../enrolment/ports.ts';
import type { FaultCause } from '../formats/server-fault.ts';
import type { AttestedNode } from './answer.ts';
import type { AnswerProofs } from './answer-proof.ts';
import { Attestation } from './attestation.ts';
import type { AttestPorts, NodeStatus } from './ports.ts';
import { type Question, questionFor } from './selection.ts';
import type { SupplementFigures } from './supplements/supplement.ts';
import { startSweeper } from './sweeper.ts';
import type { ShownTurn } from './turns.ts';

/** Each is told in ports.ts. */
export type AttestConfig = Pick<
  AttestPorts,
  | 'unknownAfter'
  | 'summaryEvery'
  | 'imaList'
  | 'initrdUploads'
  | 'initrdManifests'
  | 'answerWithin'
  | 'challengeEvery'
>;

export interface AttestParts extends Omit<AttestPorts, keyof AttestConfig | 'askAgain' | 'silenceOf'> {
  /** When a server last ran, and that one runs now. */
  readonly alive: { readonly lastAlive: number | null; beat(now: number): Promise<void> };
}

/** Who a connection is, as far as judging its answers needs it. */
export interface JudgedPeer extends Required<Pick<AttestedNode, 'ak' | 'endorsementPath'>> {
  readonly record: EnrolledNode;
}

/** Judges answers, and ages what is overdue. */
export interface Attest extends AsyncDisposable {
  ask(peer: JudgedPeer, asked: AskedPeer): Question;
  /** Milliseconds until this node may be asked: 0 unless it has spent what judging it may cost. */
  waits(name: string): number;
  /** When this resolves, the verdict is on disk. @throws Rejection */
  judge(peer: JudgedPeer, request: JudgeRequest): Promise<Judgement>;
  status(name: string): NodeStatus | null;
  statuses(): readonly NodeStatus[];
  /** Why the node's latest answer failed, if that was a fault of ours; otherwise null. */
  serverFault(name: string): FaultCause | null;
  /** Change of ours that turned the node's verdict; null if none did. */
  turned(name: string): ShownTurn | null;
  /** The server failed while it judged this node, or stored what it proved. */
  failed(name: string, error: unknown): void;
  /** Loads the stored status of a node unless it is in memory; null if no such node is enrolled. */
  recall(name: string): Promise<NodeStatus | null>;
  /** Does the work while no verdict of these nodes is under way, and knows nothing of those that it gives afterwards. */
  archive(names: readonly string[], work: () => Promise<readonly string[]>): Promise<void>;
  /** Does the work when no verdict of this node is under way, and knows nothing of the node afterwards. */
  release(name: string, work: () => Promise<void>, akName?: string): Promise<void>;
  /** Forgets what is held against the node's TPM; false if nothing is. */
  approveAgain(name: string, actor: string): Promise<boolean>;
  /** Has these nodes count for nothing: they enrolled while the server was on trial, and it is not any more. */
  endTrialOf(names: readonly string[]): Promise<void>;
  /** How many initrds the server waits for, and how much came. */
  initrdFigures(): SupplementFigures;
  /** Names of nodes whose verdicts change, or did within the hour, so often that their rows are joined. */
  flapping(): readonly string[];
  /** How many nodes have spent what judging them may cost, and how many heavy answers wait for a turn. */
  judgingFigures(): ReturnType<AnswerProofs['figures']>;
  /** Called for each verdict once it is committed, or accepted as equal to the one before. Must not throw. */
  onRecorded(listener: AttestPorts['recorded']): void;
  /** Says from now on how it came that a node is silent: nobody else looks at connections. */
  explainSilence(by: AttestPorts['silenceOf']): void;
  /** Called for each node that is to be asked for evidence now. */
  onAskAgain(listener: AttestPorts['askAgain']): void;
}

export async function openAttest(
  {
    unknownAfter,
    summaryEvery,
    imaList,
    initrdUploads,
    initrdManifests,
    answerWithin,
    challengeEvery,
  }: AttestConfig,
  parts: AttestParts,
): Promise<Attest> {
  const { alive, now, monotonic, duration, fault } = parts;
  const listeners = [parts.recorded];
  const recorded: AttestPorts['recorded'] = (entry, from) => {
    for (const listener of listeners) listener(entry, from);
  };
  const asking: AttestPorts['askAgain'][] = [];
  const askAgain: AttestPorts['askAgain'] = (node) => {
    for (const ask of asking) ask(node);
  };
  let silenceOf: AttestPorts['silenceOf'] = () => null;
  const attestation = await Attestation.open(
    {
      ...parts,
      unknownAfter,
      summaryEvery,
      // The list of the present boot leaves room for that of a boot by which a node became untrusted.
      imaList: Math.min(imaList, Math.floor(parts.evidence.share.most / 4)),
      initrdUploads,
      initrdManifests,
      answerWithin,
      challengeEvery,
      recorded,
      askAgain,
      silenceOf: (node) => silenceOf(node),
    },
    alive.lastAlive,
  );
  const sweeper = startSweeper(
    [() => attestation.sweep(), () => alive.beat(now())],
    Math.min(1000, unknownAfter / 10),
    fault,
  );
  return {
    ask: (peer, { hello, channel, enough }) => {
      const { name, banks } = peer.record;
      const inForce = parts.inForce();
      const held = attestation.heldParts(name);
      return questionFor(
        banks ?? hello.banks,
        held,
        enough,
        attestation.turns.pathsOf(name, attestation.status(name), inForce),
        attestation.supplements.ask(name, channel),
      );
    },
    waits: (name) => attestation.proofs.wait(name),
    async judge(peer, { session, answer, address }) {
      const { record, ak, endorsementPath } = peer;
      const { hello } = session;
      if (hello === null) throw new Error('an answer before a hello');
      const started = monotonic();
      const judged = await attestation.judge(
        { ...record, ak, endorsementPath },
        {
          by: hello.role,
          evidence: answer.evidence,
          nonce: answer.nonce,
          channel: session.channel,
          helloDigest: session.helloDigest,
          selection: answer.challenge.selection,
          challengedAt: now() - (started - answer.challengedAt),
          parts: answer.parts,
          keyRequest: answer.keyRequest,
          address,
          supplements: answer.supplements,
        },
      );
      if (record.banks === null) await attestation.lives.fixBanks(record, hello.banks);
      duration('total', (monotonic() - started) / 1000);
      return judged;
    },
    status: (name) => attestation.status(name),
    statuses: () => attestation.statuses(),
    serverFault: (name) => attestation.serverFault(name),
    turned: (name) => attestation.turns.shown(attestation.status(name), parts.inForce()),
    failed: (name, error) => attestation.failed(name, error),
    recall: (name) => attestation.lives.recall(name),
    archive: (names, work) => attestation.lives.archive(names, work),
    release: (name, work, akName) => attestation.lives.release(name, work, akName),
    approveAgain: (name, actor) => attestation.lives.approveAgain(name, actor),
    endTrialOf: (names) => attestation.lives.endTrialOf(names),
    initrdFigures: () => attestation.supplements.figures(),
    flapping: () => attestation.flapping(),
    judgingFigures: () => attestation.proofs.figures(),
    onRecorded: (listener) => void listeners.push(listener),
    explainSilence(by) {
      silenceOf = by;
    },
    onAskAgain: (listener) => void asking.push(listener),
    async [Symbol.asyncDispose]() {
      await sweeper[Symbol.asyncDispose]();
      await attestation.idle();
    },
  };
}
