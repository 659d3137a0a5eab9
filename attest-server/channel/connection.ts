import { randomBytes } from 'node:crypto';
import type { WebSocket } from 'ws';
import { nonceBytes } from '../protocol/binding.ts';
import { limits } from '../protocol/limits.ts';
import type { Hello } from '../protocol/messages.ts';
import type { ReasonCode } from '../protocol/reasons.ts';
import { Rejection } from '../protocol/rejection.ts';
import type { ChannelPorts, Timings } from './ports.ts';
import type { Action, Session } from './session.ts';
import type { Tally } from './tally.ts';

/** At most this many connections that claim one node and have proven nothing yet. */
const unprovenPerNode = 2;

/** What the connections of one listener share. */
export interface Surroundings<Node> {
  readonly unproven: Tally;
  readonly proven: Map<string, Connection<Node>>;
  readonly changed: () => void;
  readonly ended: (connection: Connection<Node>) => void;
}

/** One agent's connection: carries out what its session says. */
export class Connection<Node> {
  readonly session: Session;
  readonly #webSocket: WebSocket;
  readonly #source: string;
  readonly #timings: Timings;
  readonly #ports: ChannelPorts<Node>;
  readonly #around: Surroundings<Node>;
  readonly #tallied: string[] = [];
  #node: Node | null = null;
  #deadline: NodeJS.Timeout | undefined;
  #next: NodeJS.Timeout | undefined;
  #heart: NodeJS.Timeout | undefined;
  #judging = false;
  #wanted = false;

  constructor(
    webSocket: WebSocket,
    session: Session,
    source: string,
    timings: Timings,
    ports: ChannelPorts<Node>,
    around: Surroundings<Node>,
  ) {
    this.session = session;
    this.#webSocket = webSocket;
    this.#source = source;
    this.#timings = timings;
    this.#ports = ports;
    this.#around = around;
    this.#tally(`source ${source}`);
    this.#within(timings.helloWithin, 'no hello in time');
    let alive = true;
    webSocket.on('pong', () => {
      alive = true;
    });
    this.#heart = setInterval(() => {
      if (!alive) webSocket.terminate();
      alive = false;
      webSocket.ping();
    }, 30_000);
    webSocket.on('message', (data: Buffer, isBinary: boolean) => {
      if (!isBinary && data.length > limits.textFrame)
        this.#carryOut(session.refuse('too_large', `a text frame of ${data.length} bytes`));
      else
        this.#carryOut(
          isBinary ? session.binary(data) : session.text(data.toString('utf8'), this.#ports.now()),
        );
    });
    webSocket.on('error', (error) => {
      if (!('code' in error) || !String(error.code).startsWith('WS_ERR_')) return;
      const isTooLarge = error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH';
      this.#carryOut(session.refuse(isTooLarge ? 'too_large' : 'malformed', error.message));
    });
    webSocket.on('close', () => this.#end());
  }

  get name(): string | null {
    return this.#node === null ? null : this.#ports.name(this.#node);
  }

  challenge(): void {
    // An agent that is at work on an answer is asked again after it: its nonce must not become stale meanwhile.
    if (this.#judging || this.session.awaiting(this.#ports.now())) this.#wanted = true;
    else if (this.session.open) this.#challenge();
  }

  close(code: number, reason: string): void {
    this.#webSocket.close(code, reason);
    // A peer that does not close either is not waited for.
    setTimeout(() => this.#webSocket.terminate(), 1_000).unref();
  }

  #carryOut(actions: readonly Action[]): void {
    for (const action of actions) this.#do(action);
  }

  #do(action: Action): void {
    switch (action.do) {
      case 'send':
        if (action.message.type === 'activate')
          this.#within(this.#timings.activateWithin, 'not activated in time');
        this.#webSocket.send(JSON.stringify(action.message));
        return;
      case 'identify':
        this.#identify(action.hello, action.joinToken);
        return;
      case 'enrol':
        this.#attempt(async () => {
          if (this.#node !== null) await this.#ports.enrol(this.#node);
          return this.session.enrolled();
        });
        return;
      case 'challenge':
        clearTimeout(this.#deadline);
        this.challenge();
        return;
      case 'judge':
        this.#judge(action);
        return;
      case 'refuse':
        this.#refused(action.code, action.text, true);
        this.#webSocket.send(JSON.stringify({ type: 'error', code: action.code }));
        this.close(1008, action.code);
        return;
      case 'note':
        this.#refused(action.code, 'the agent reports it', false);
        this.#schedule(this.#timings.challengeEvery);
    }
  }

  #identify(hello: Hello, joinToken: string | null): void {
    this.#tally(`node ${hello.node}`);
    if (this.#around.unproven.of(`node ${hello.node}`) > unprovenPerNode) {
      this.#carryOut(
        this.session.refuse('identity_unproven', `too many unproven connections claim ${hello.node}`),
      );
      return;
    }
    this.#attempt(async () => {
      const found = await this.#ports.identify(hello, joinToken, this.#source);
      this.#node = found.node;
      return this.session.identified(found.activation);
    });
  }

  #challenge(): void {
    const hello = this.session.hello;
    if (this.#node === null || hello === null) return;
    this.#wanted = false;
    const { selection, holds } = this.#ports.ask(this.#node, hello);
    const nonce = randomBytes(nonceBytes);
    const within = this.#timings.answerWithin;
    const message = {
      type: 'challenge' as const,
      nonce: nonce.toString('base64'),
      selection,
      purpose: 'attest' as const,
      holds: [...holds],
      within,
    };
    this.#carryOut(this.session.challenge(message, nonce, this.#ports.now()));
    // An unanswered challenge is followed by the next one, past its deadline; meanwhile the node ages.
    this.#schedule(Math.max(this.#timings.challengeEvery, within * 1.1));
  }

  #judge(answer: Extract<Action, { do: 'judge' }>): void {
    clearTimeout(this.#next);
    this.#judging = true;
    this.#attempt(async () => {
      try {
        if (this.#node === null) return [];
        const { state, codes } = await this.#ports.judge(this.#node, { session: this.session, answer });
        this.#becameProven();
        this.#webSocket.send(JSON.stringify({ type: 'verdict', state, codes, ...this.#ports.books?.() }));
        this.#schedule(this.#timings.challengeEvery);
      } finally {
        this.#judging = false;
      }
      return [];
    });
  }

  /** Only now may this connection displace an older one of the same node. */
  #becameProven(): void {
    const name = this.name;
    if (name === null) return;
    for (const key of this.#tallied.splice(0)) this.#around.unproven.add(key, -1);
    const before = this.#around.proven.get(name);
    if (before === this) return;
    this.#around.proven.set(name, this);
    before?.close(1000, 'a newer connection proved itself');
    this.#around.changed();
  }

  /** Runs our own work for this connection: a Rejection is the peer's fault, anything else is ours. */
  #attempt(work: () => Promise<readonly Action[]>): void {
    work().then(
      (actions) => {
        this.#carryOut(actions);
        if (this.#wanted) {
          this.#wanted = false;
          this.challenge();
        }
      },
      (error: unknown) => {
        if (error instanceof Rejection) {
          this.#carryOut(this.session.refuse(error.code, error.message));
          return;
        }
        this.#ports.failed(error, { node: this.name });
        this.close(1011, 'the server failed');
      },
    );
  }

  #schedule(after: number): void {
    clearTimeout(this.#next);
    // Spread over a tenth, so that agents which came together do not answer together for ever.
    this.#next = setTimeout(() => this.challenge(), after * (0.95 + Math.random() * 0.1));
  }

  #within(limit: number, text: string): void {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#carryOut(this.session.refuse('identity_unproven', text)), limit);
  }

  #tally(key: string): void {
    this.#tallied.push(key);
    this.#around.unproven.add(key, 1);
  }

  #refused(code: ReasonCode, text: string, closed: boolean): void {
    const node = this.name ?? this.session.hello?.node ?? null;
    this.#ports.refused(code, text, { node, address: this.#source, closed });
  }

  #end(): void {
    this.session.refuse('identity_unproven', 'the connection is gone');
    clearTimeout(this.#deadline);
    clearTimeout(this.#next);
    clearInterval(this.#heart);
    for (const key of this.#tallied.splice(0)) this.#around.unproven.add(key, -1);
    const name = this.name;
    if (name !== null && this.#around.proven.get(name) === this) this.#around.proven.delete(name);
    this.#around.ended(this);
  }
}
