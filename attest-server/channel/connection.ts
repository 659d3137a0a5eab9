import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { HitBound } from '../door/bounds.ts';
import type { EndedConnection } from '../formats/silence.ts';
import type { KeyAnswer } from '../keys/ports.ts';
import type { KeptMessage } from '../wire/disk-messages.ts';
import type { PartName } from '../wire/evidence.ts';
import type { GateOrder } from '../wire/gate.ts';
import { spentText } from '../wire/judging-share.ts';
import { knownLastWords } from '../wire/last-words.ts';
import { limits } from '../wire/limits.ts';
import type { Hello, ServerMessage } from '../wire/messages.ts';
import { Rate } from '../wire/rate.ts';
import { mayWait, type ReasonCode } from '../wire/reasons.ts';
import { Rejection } from '../wire/rejection.ts';
import { roles } from '../wire/roles.ts';
import { type AnsweredSupplements, supplementNames } from '../wire/supplements.ts';
import { AnswerSizes } from './answer-sizes.ts';
import { bounds } from './bounds.ts';
import { freshChallenge } from './challenge.ts';
import { ConnectionTimers } from './connection-timers.ts';
import { Heartbeat } from './heartbeat.ts';
import { OpenAnswer, ownIfSmall } from './open-answers.ts';
import type { ChannelPorts, ListenerContext, Timings, Transport } from './ports.ts';
import { Probation } from './probation.ts';
import { type Action, type Session, type ShownTokens, unprovenReport } from './session.ts';
import { tick } from './timer-wheel.ts';

/** One agent's connection: carries out what its session says. */
export class Connection<Node> {
  readonly session: Session;
  /** Since when and from where, for people. */
  readonly since: number;
  readonly address: string;
  #heardAt: number;
  /** Set by whichever side of ours ends it first. */
  #ending: KnownEnd | null = null;
  readonly #webSocket: WebSocket;
  readonly #socket: Duplex;
  readonly #source: string;
  readonly #timings: Timings;
  readonly #ports: ChannelPorts<Node>;
  readonly #around: ListenerContext<Connection<Node>>;
  readonly #rate: Rate;
  readonly #timers: ConnectionTimers;
  readonly #heartbeat: Heartbeat;
  /** Null once the connection is proven. */
  #probation: Probation | null;
  #node: Node | null = null;
  /** The authorities of the server that the agent was told of. */
  #told: string | null = null;
  #wasAsked = false;
  #judging = false;
  #wanted = false;
  /** The next challenge waits until the node may cost something again. */
  #isPutOff = false;
  /** Parts that prove nothing further on this connection. */
  #enough: readonly PartName[] = [];
  /** Challenges for the rest of a supplement: each costs a quote, and a node can say for ever that there is more. */
  readonly #rounds = new Rate(bounds.rounds, 0);
  readonly #sizes: AnswerSizes;
  readonly #answer = new OpenAnswer();
  #working = false;
  #draining = false;

  constructor(
    { webSocket, socket, address, visitor }: Transport,
    session: Session,
    timings: Timings,
    ports: ChannelPorts<Node>,
    around: ListenerContext<Connection<Node>>,
  ) {
    this.session = session;
    this.#webSocket = webSocket;
    this.#socket = socket;
    this.address = address;
    this.since = ports.wallClock();
    this.#heardAt = this.since;
    this.#source = visitor.source;
    this.#rate = new Rate(bounds.frames, ports.now());
    this.#timings = timings;
    this.#ports = ports;
    this.#around = around;
    this.#sizes = new AnswerSizes(around.longAnswers);
    this.#probation = new Probation(socket, visitor, {
      isOpen: () => session.open,
      tooMuch: (text) => this.#carryOut(session.refuse('too_large', text)),
    });
    this.#timers = new ConnectionTimers(this, around.timerWheel, ports.now, timings.pingEvery);
    this.#timers.within(timings.helloWithin, 'no hello in time');
    this.#heartbeat = new Heartbeat(webSocket, this);
    this.#answer.watch(socket);
    // One listener for each event, which calls all others: with two, each connection would keep a list.
    webSocket.on('message', (data: Buffer, isBinary: boolean) => {
      this.#heardAt = ports.wallClock();
      this.#answer.frame(data.length, true);
      if (!this.#mayGoOn()) return;
      // If the peer keeps sending while we work, the rest waits in its buffers, not in ours.
      if (this.#working) webSocket.pause();
      if (!isBinary && data.length > limits.textFrame)
        this.#carryOut(session.refuse('too_large', `a text frame of ${data.length} bytes`));
      else this.#carryOut(session.take(isBinary ? ownIfSmall(data) : data.toString('utf8'), ports.now()));
    });
    webSocket.on('error', (error) => {
      if (!('code' in error) || !String(error.code).startsWith('WS_ERR_')) return;
      const isTooLarge = error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH';
      this.#carryOut(session.refuse(isTooLarge ? 'too_large' : 'malformed', error.message));
    });
    webSocket.on('close', (status, reason) => this.#end(status, reason));
  }

  /** When anything last came, in milliseconds since the epoch. */
  get heardAt(): number {
    return this.#heardAt;
  }

  get name(): string | null {
    return this.#node === null ? null : this.#ports.name(this.#node);
  }

  challenge(): void {
    // An agent that is at work on an answer is asked again after it: its nonce must not become stale meanwhile.
    if (this.#judging || this.session.awaiting(this.#ports.now())) this.#wanted = true;
    else if (this.session.open && !this.#draining) this.#challengeInTime();
  }

  /** A challenge in this many milliseconds, or in fewer where one is due anyhow. */
  challengeWithin(time: number): void {
    const isBusy = this.#judging || this.session.awaiting(this.#ports.now());
    if (isBusy || time <= tick) this.challenge();
    else if (this.session.open) this.#timers.challengeWithin(time);
  }

  beat(): void {
    this.#heartbeat.beat();
  }

  /** A ping or a pong came, of this many bytes, which nobody keeps. */
  controlFrame({ length }: Buffer): boolean {
    this.#heardAt = this.#ports.wallClock();
    this.#answer.frame(length, false);
    return this.#mayGoOn();
  }

  unanswered(): void {
    this.#ending ??= { by: 'timeout', status: null, reason: null };
  }

  tooLate(text: string): void {
    this.#carryOut(this.session.refuse('identity_unproven', text));
  }

  /** Ends the connection once the verdict under way is committed and said. */
  drain(): void {
    this.#draining = true;
    if (!this.#working) this.close(1001, 'server is going away');
  }

  /** Takes the place of an unproven connection away; what it sent is given up at once. */
  evict(bound: HitBound): void {
    if (bound === 'bytes' || bound === 'bytes_in_all')
      this.#cutOff('too_large', 'the heaviest where too many unproven bytes came');
    else this.#carryOut(this.session.refuse('identity_unproven', 'unproven, and newer connections came'));
  }

  /** It is the heaviest of those who proved themselves, where they sent too much together. */
  #giveWay(): void {
    this.#ports.gaveWay(this.#source);
    this.#cutOff('too_large', 'the heaviest node where all together sent too much that is not judged yet');
    this.#answer.end();
  }

  /** Its node is no longer enrolled: whatever it still sends is ignored. */
  release(): void {
    this.session.refuse('enrolment_pending', 'the enrolment was revoked');
    if (this.name !== null) this.#around.proven.leave(this.name, this, null);
    this.#send({ type: 'error', code: 'enrolment_pending' });
    this.close(1008, 'enrolment_pending');
  }

  close(code: number, reason: string): void {
    this.#ending ??= { by: 'server', status: code, reason };
    this.#webSocket.resume();
    this.#webSocket.close(code, reason);
    // A peer that does not close either is not waited for.
    setTimeout(() => this.#webSocket.terminate(), 1_000).unref();
  }

  #carryOut(action: Action | null): void {
    // What is sent together leaves in one TLS record.
    this.#socket.cork();
    switch (action?.do) {
      case 'send':
        if (action.message.type === 'activate')
          this.#timers.within(this.#timings.activateWithin, 'not activated in time');
        this.#send(action.message);
        if (action.frame !== undefined) this.#webSocket.send(action.frame);
        break;
      case 'identify':
        this.#identify(action.hello, action.tokens);
        break;
      case 'enrol':
        this.#attempt(async () => {
          if (this.#node !== null) this.#node = await this.#ports.enrol(this.#node);
          return this.session.enrolled();
        });
        break;
      case 'challenge':
        // An unproven peer has one challenge's time; a proven one keeps its place, and its node ages.
        if (!this.#wasAsked && this.#node !== null) {
          this.#probation?.claim(`${this.session.hello?.role} ${this.#ports.name(this.#node)}`);
          const within = this.#ports.waits(this.#ports.name(this.#node)) + this.#timings.answerWithin;
          this.#timers.within(within + bounds.firstAnswerGrace, 'no evidence in time');
        }
        this.#wasAsked = true;
        this.challengeWithin(action.after);
        break;
      case 'judge':
        this.#rate.refund(
          1 +
            piecesIn(action.supplements) +
            Object.values(action.parts).filter(({ bytes }) => bytes !== null).length,
        );
        this.#judge(action);
        break;
      case 'refuse':
        this.#refused(action.code, action.text, true);
        this.#send({ type: 'error', code: action.code, ...this.#gateOrder(action.code) });
        this.close(1008, action.code);
        break;
      case 'trusts':
        if (this.#node !== null && this.#probation === null)
          this.#ports.trusts(this.#ports.name(this.#node), action.authorities);
        break;
      case 'opened':
        if (this.#probation !== null) this.#refuseReport();
        else if (this.name !== null) this.#ports.gateOpened(this.name, action.opened);
        break;
      case 'header':
        this.#keep('header', action.leaseId, (node) =>
          this.#ports.keepHeader(node, action.leaseId, action.header),
        );
        break;
      case 'lease':
        this.#keep(action.report.type, action.report.leaseId, (node) =>
          this.#ports.leaseReported(node, action.report),
        );
        break;
      case 'note':
        if (this.#probation !== null) {
          this.#refuseReport();
          break;
        }
        this.#refused(action.code, 'the agent reports it', false);
        this.#answer.forget();
        // That one answers no challenge, and moves none.
        if (action.code === 'audit_rollback') break;
        this.#schedule(this.#timings.challengeEvery);
        if (this.#wanted) this.challenge();
    }
    this.#socket.uncork();
  }

  /** Says that it is kept once it is. */
  #keep(what: KeptMessage['what'], leaseId: string, keep: (node: Node) => Promise<void>): void {
    const node = this.#node;
    if (this.#probation !== null || node === null) {
      this.#refuseReport();
      return;
    }
    this.#attempt(async () => {
      await keep(node);
      return { do: 'send', message: { type: 'kept', what, leaseId } };
    });
  }

  #refuseReport(): void {
    const { code, message } = unprovenReport();
    this.#carryOut(this.session.refuse(code, message));
  }

  /** Tells a gate whose node is not enrolled whether to wait for that. */
  #gateOrder(code: ReasonCode): { readonly gate?: GateOrder } {
    const { hello } = this.session;
    if (hello === null || !roles[hello.role].gets.includes('gateOrder')) return {};
    if (!(mayWait(code) || code === 'unsupported_tpm')) return {};
    return { gate: { ...this.#ports.gateOf(hello.node), codes: [code] } };
  }

  #identify(hello: Hello, tokens: ShownTokens): void {
    this.#attempt(async () => {
      const found = await this.#ports.identify(hello, tokens, this.address);
      this.#node = found.node;
      return this.session.identified(found.activation);
    });
  }

  /** A node that has spent what it may cost is asked later: until then its verdict ages, as that of a silent one. */
  #challengeInTime(): void {
    const { name } = this;
    const wait = name === null ? 0 : this.#ports.waits(name);
    if (name === null || wait <= tick) {
      this.#challenge();
      return;
    }
    if (!this.#isPutOff && this.#probation === null) this.#refused('too_large', spentText(name, wait), false);
    this.#isPutOff = true;
    this.#timers.challengeAfter(wait);
  }

  #challenge(): void {
    const hello = this.session.hello;
    if (this.#node === null || hello === null) return;
    this.#wanted = false;
    this.#isPutOff = false;
    const within = this.#timings.answerWithin;
    const asked = this.#ports.ask(this.#node, { hello, channel: this.session.channel, enough: this.#enough });
    const occasion = { within, isProven: this.#probation === null, most: this.#sizes.begin() };
    const [message, nonce] = freshChallenge(asked, hello, occasion);
    this.#answer.forget();
    this.#carryOut(this.session.challenge(message, nonce, this.#ports.now()));
    // An unanswered challenge is followed by the next one, past its deadline; meanwhile the node ages.
    this.#schedule(Math.max(this.#timings.challengeEvery, within * 1.1 + 5));
  }

  #judge(answer: Extract<Action, { do: 'judge' }>): void {
    const arrivedAt = this.#ports.now();
    this.#timers.answered();
    this.#judging = true;
    this.#answer.forget();
    this.#attempt(async () => {
      try {
        if (this.#node === null) return null;
        const judged = await this.#ports.judge(this.#node, {
          session: this.session,
          answer,
          address: this.address,
        });
        this.#becameProven();
        const { challenge, challengedAt, supplements } = answer;
        const time = { within: challenge.within, took: arrivedAt - challengedAt };
        this.#sizes.judged(supplements, (name) => challenge.supplements?.[name]?.most ?? 0, time);
        if ('again' in judged) {
          this.#schedule(this.#rounds.reserve(this.#ports.now()));
          return null;
        }
        const { state, codes, gate, key, more, enough } = judged;
        this.#enough = enough;
        this.#schedule(more ? this.#rounds.reserve(this.#ports.now()) : this.#timings.challengeEvery);
        const name = this.#ports.name(this.#node);
        const { told, authorities } = this.#ports.announce(name, this.session.hello, this.#told);
        this.#told = told;
        return {
          do: 'send',
          message: {
            type: 'verdict',
            state,
            codes: [...codes],
            ...this.#ports.checkpoint(),
            ...(authorities !== null && { authorities }),
            ...(gate !== undefined && { gate }),
            ...(answer.keyRequest !== undefined && refusalIn(key)),
          },
          ...(key !== undefined && 'release' in key && { frame: key.release }),
        };
      } finally {
        this.#judging = false;
        this.#sizes.end();
      }
    });
  }

  /** Only now may this connection displace an older one of the same node and role. */
  #becameProven(): void {
    const name = this.name;
    // Gone or refused while it was judged: the verdict counts, the connection does not.
    if (name === null || !this.session.open || this.#probation === null) return;
    this.#probation.prove();
    this.#probation = null;
    this.#answer.count(this.#around.openAnswers.enter(name, () => this.#giveWay()));
    const before = this.#around.proven.enter(name, this);
    if (this.#node !== null)
      this.#ports.proven(this.#node).catch((error: unknown) => this.#failed(error, name));
    before?.close(1000, 'a newer connection proved itself');
    this.#around.changed();
  }

  /** Runs our own work for this connection: a Rejection is the peer's fault, anything else is ours. */
  #attempt(work: () => Promise<Action | null>): void {
    this.#working = true;
    const done = () => {
      this.#working = false;
      if (this.#webSocket.isPaused) this.#webSocket.resume();
    };
    work().then(
      (action) => {
        done();
        this.#socket.cork();
        this.#carryOut(action);
        if (this.#draining) this.drain();
        else if (this.#wanted) {
          this.#wanted = false;
          this.challenge();
        }
        this.#socket.uncork();
      },
      (error: unknown) => {
        done();
        if (error instanceof Rejection) {
          this.#carryOut(this.session.refuse(error.code, error.message));
          return;
        }
        this.#failed(error, this.name);
        this.#send({ type: 'error', code: 'server_fault' });
        this.close(1011, 'the server failed');
      },
    );
  }

  #failed(error: unknown, node: string | null): void {
    this.#ports.failed(error, { node, role: this.session.hello?.role ?? null });
    if (node !== null) this.#ports.nodeFailed(node, error);
  }

  #schedule(after: number): void {
    if (!this.session.open) return;
    // Spread over a tenth, so that agents which came together do not answer together for ever.
    if (after > tick) this.#timers.challengeAfter(after * (0.95 + Math.random() * 0.1));
    else this.challenge();
  }

  #send(message: ServerMessage): void {
    if (this.reads()) this.#webSocket.send(JSON.stringify(message));
  }

  /** A peer that does not read what it asked for is dropped: its answers would pile up here. */
  reads(): boolean {
    if (this.#webSocket.bufferedAmount <= bounds.unread) return true;
    this.#cutOff('too_large', 'the peer does not read');
    return false;
  }

  /** Refuses, and waits for nothing: what the connection holds is given up at once. */
  #cutOff(code: ReasonCode, text: string): void {
    if (this.session.refuse(code, text) !== null) this.#refused(code, text, true);
    if (this.#webSocket.bufferedAmount === 0) this.#send({ type: 'error', code });
    this.#ending ??= { by: 'server', status: null, reason: code };
    this.#webSocket.terminate();
  }

  /** Whether the peer keeps to the rate of frames; it is refused where not. */
  #mayGoOn(): boolean {
    if (this.#rate.take(this.#ports.now())) return true;
    this.#carryOut(this.session.refuse('too_large', 'too many frames a second'));
    return false;
  }

  #refused(code: ReasonCode, text: string, closed: boolean): void {
    const node = this.name ?? this.session.hello?.node ?? null;
    if (closed) this.#probation?.refused();
    const isProven = this.#probation === null;
    this.#ports.refused(code, text, {
      node,
      ek: this.session.claimedEk,
      address: this.address,
      closed,
      isProven,
    });
  }

  #end(status: number, reason: Buffer): void {
    this.session.refuse('identity_unproven', 'the connection is gone');
    this.#timers.end();
    this.#sizes.end();
    this.#answer.end();
    if (this.#probation === null) this.#around.left(this.#source);
    this.#probation?.end();
    const name = this.name;
    const at = this.#ports.wallClock();
    if (name !== null)
      this.#around.proven.leave(name, this, {
        at,
        heardAt: this.#heardAt,
        ...(this.#ending ?? endingOf(status, reason)),
      });
    this.#around.ended(this);
  }
}

type KnownEnd = Pick<EndedConnection, 'by' | 'status' | 'reason'>;

/** Which the peer made. Where no close frame came ws says 1006, and 1005 where it had no status (RFC 6455, 7.4.1). */
function endingOf(status: number, reason: Buffer): KnownEnd {
  if (status === 1006) return { by: 'reset', status: null, reason: null };
  const said = knownLastWords(reason.toString('latin1'));
  return { by: 'agent', status: status === 1005 ? null : status, reason: said };
}

/** Why an answer with a key request gets none; nothing if it does. Before it is decided there is no key either. */
function refusalIn(key: KeyAnswer | undefined): { readonly keyRefusal?: ReasonCode } {
  if (key === undefined) return { keyRefusal: 'key_withheld' };
  return 'refusal' in key ? { keyRefusal: key.refusal } : {};
}

function piecesIn(supplements: AnsweredSupplements): number {
  let count = 0;
  for (const name of supplementNames) count += supplements[name]?.came?.pieces.length ?? 0;
  return count;
}
