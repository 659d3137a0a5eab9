import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { Visitor } from '../door/admission.ts';
import type { KeyAnswer } from '../keys/ports.ts';
import type { AnnouncedAuthority } from '../wire/authority.ts';
import type { FormattedMessage, UnlockedMessage } from '../wire/disk-messages.ts';
import type { PartName } from '../wire/evidence.ts';
import type { GateOrder, OpenedByItself } from '../wire/gate.ts';
import type { Hello, Introduction, PcrSelection, VerdictMessage } from '../wire/messages.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import type { Role } from '../wire/roles.ts';
import type { SupplementPlaces } from '../wire/supplements.ts';
import type { NodeState } from '../wire/verdict.ts';
import type { LongAnswers } from './long-answers.ts';
import type { OpenAnswers } from './open-answers.ts';
import type { Listed, Roster } from './roster.ts';
import type { Action, Session, ShownTokens } from './session.ts';
import type { TimerWheel } from './timer-wheel.ts';

export interface Timings {
  /** All in milliseconds. */
  readonly challengeEvery: number;
  readonly answerWithin: number;
  readonly helloWithin: number;
  readonly activateWithin: number;
  readonly pingEvery: number;
}

/** Transport of a connection: the WebSocket, the socket below it, and the visitor that was admitted. */
export interface Transport {
  readonly webSocket: WebSocket;
  readonly socket: Duplex;
  /** Address of the peer. */
  readonly address: string;
  readonly visitor: Visitor;
}

/** State that the connections of one listener share. */
export interface ListenerContext<Connection extends Listed> {
  readonly timerWheel: TimerWheel;
  readonly longAnswers: LongAnswers;
  readonly openAnswers: OpenAnswers;
  readonly proven: Roster<Connection>;
  readonly changed: () => void;
  readonly ended: (connection: Connection) => void;
  /** A connection from this source that had proven itself is gone. */
  readonly left: (source: string) => void;
}

/** A proven connection of a node's agent, for people. */
export interface Connected {
  readonly address: string;
  /** Milliseconds since the epoch. */
  readonly since: number;
  /** When anything last came on it. */
  readonly heardAt: number;
  /** The version that it says. */
  readonly agent: string;
}

/** Who an agent turned out to be. */
export interface Identification<Node> {
  readonly node: Node;
  /** Null if its keys are enrolled together already. */
  readonly activation: {
    readonly credential: Buffer;
    readonly encrypted: Buffer;
    readonly secret: Buffer;
  } | null;
}

/** Result of one answer. */
export type Judgement = JudgedAnswer | AskedAgain;

export interface JudgedAnswer {
  readonly state: NodeState;
  readonly codes: readonly ReasonCode[];
  /** To a gate alone. */
  readonly gate?: GateOrder;
  /** To an answer with a key request alone. */
  readonly key?: KeyAnswer;
  /** It is asked again at once: an initrd of its is on the way. */
  readonly more: boolean;
  /** The machine cannot boot again on this connection, and has shown these. */
  readonly enough: readonly PartName[];
}

/** It proves itself, and is judged once the node was asked for more, as `ask` says then. */
export interface AskedAgain {
  readonly again: true;
}

/** Which connection of a node is asked. */
export interface AskedPeer {
  readonly hello: Introduction;
  /** Its exporter value. */
  readonly channel: Buffer;
  /** Parts that it has shown, and need not show again. */
  readonly enough: readonly PartName[];
}

export interface JudgeRequest {
  readonly session: Session;
  readonly answer: Extract<Action, { do: 'judge' }>;
  /** Where the connection comes from. */
  readonly address: string;
}

/** Dependencies of the channel; `server.ts` supplies them. `Node` is opaque here. */
export interface ChannelPorts<Node> {
  /** @param address where the connection comes from. @throws Rejection */
  identify(hello: Hello, tokens: ShownTokens, address: string): Promise<Identification<Node>>;
  /** Gives what it is from now on. @throws Rejection */
  enrol(node: Node): Promise<Node>;
  /** A connection proved itself for the first time: what it brought is looked at only now. */
  proven(node: Node): Promise<void>;
  /** The question for this node: PCRs, parts, and the digests of parts that are held here and need not be sent. */
  ask(
    node: Node,
    peer: AskedPeer,
  ): {
    readonly selection: PcrSelection;
    /** The more important ones first. */
    readonly holds: readonly string[];
    readonly parts: readonly PartName[];
    readonly paths: readonly string[];
    /** Where each supplement is to continue. */
    readonly supplements: SupplementPlaces;
  };
  /** Milliseconds until the node of this name may be asked: 0 unless it has spent what it may cost. */
  waits(name: string): number;
  /** @throws Rejection */
  judge(node: Node, request: JudgeRequest): Promise<Judgement>;
  name(node: Node): string;
  /** Checkpoint and keys of the audit log that go to an agent with its verdict. */
  checkpoint(): Pick<VerdictMessage, 'checkpoint' | 'auditKeys'> | null;
  /** Which of the server's authorities go with it. @param told what this gave for the connection before; null at first */
  announce(
    name: string,
    hello: Introduction | null,
    told: string | null,
  ): { readonly told: string | null; readonly authorities: AnnouncedAuthority[] | null };
  /** The authorities that a proven agent trusts after it was told of them. */
  trusts(name: string, authorities: readonly string[]): void;
  /** The order for a gate whose node nobody vouches for yet. @param name what it calls its node */
  gateOf(name: string): GateOrder;
  /** A proven gate says that it opened by itself. */
  gateOpened(name: string, opened: OpenedByItself): void;
  /** A proven `unlock` reports what became of a lease. @throws Rejection */
  leaseReported(node: Node, report: UnlockedMessage | FormattedMessage): Promise<void>;
  /** A proven `unlock` is to format a volume, and this is its header. @throws Rejection */
  keepHeader(node: Node, leaseId: string, header: Buffer): Promise<void>;
  /** Something was refused; `ek` is the digest of the endorsement key that was shown, `closed` says whether the conversation ended. */
  refused(
    code: ReasonCode,
    text: string,
    about: {
      node: string | null;
      ek: string | null;
      address: string;
      closed: boolean;
      isProven: boolean;
    },
  ): void;
  /** A proven connection from this source was ended, as its node had sent most where all had sent too much. */
  gaveWay(source: string): void;
  /** A fault of ours. */
  failed(error: unknown, about: { node: string | null; role: Role | null }): void;
  /** The same where it is known which node had to do with it. */
  nodeFailed(node: string, error: unknown): void;
  /** Connected agents by the version that they say, and how many gates wait. */
  connections(versions: ReadonlyMap<string, number>, gates: number): void;
  /** Monotonic milliseconds. */
  now(): number;
  /** Milliseconds since the epoch. */
  wallClock(): number;
}
