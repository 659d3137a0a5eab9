import type { Server, Socket } from 'node:net';
import { setImmediate as nextLoop, setTimeout as sleep } from 'node:timers/promises';
import { ToolError } from 'node-tpm2';
import { encodeFrame, FrameError, FrameReader } from './frames.ts';
import { busyFault, type CheckedRequest, faultAnswer, parseRequest, requestBounds } from './requests.ts';
import type { Verbs } from './verbs.ts';

/** The cost that a stranger may cause. */
export interface BrokerBounds {
  /** Connections at once. One that asks nothing makes room for a new one. */
  readonly places: number;
  /** Milliseconds for a whole request, and for the client to take its answer. */
  readonly patienceMs: number;
  /** Requests of one connection in a second, and at once; more wait. */
  readonly perSecond: number;
  readonly burst: number;
}

export const brokerBounds: BrokerBounds = { places: 16, patienceMs: 5_000, perSecond: 20, burst: 20 };

/** The events for the log; never what was asked or answered. */
export type BrokerEvent =
  | { readonly code: 'client_refused'; readonly why: 'frame' | 'request' | 'silent' | 'no_place' }
  | { readonly code: 'tpm_fault'; readonly verb: string; readonly error: ToolError };

/** Where clients come in. */
export interface BrokerSockets {
  /** For whoever its mode lets in. */
  readonly shared: Server;
  /** For the agent alone, where there is one: a verb that is asked here waits for one of the others at most. */
  readonly own: Server | null;
}

export interface BrokerParts {
  readonly verbs: Pick<Verbs, 'run'>;
  readonly on: (event: BrokerEvent) => void;
  readonly bounds?: BrokerBounds;
}

/** Answers on its sockets until it is closed: one request of a connection at a time, one verb of the TPM at a time. */
export interface Broker {
  /** Takes no more; the verb under way is answered. */
  close(): Promise<void>;
}

export function serve(
  { shared, own }: BrokerSockets,
  { verbs, on, bounds = brokerBounds }: BrokerParts,
): Broker {
  const turns = new Turns(async (request) => {
    try {
      return await verbs.run(request);
    } catch (error) {
      const fault = asFault(error);
      on({ code: 'tpm_fault', verb: request.verb, error: fault });
      return fault;
    }
  });
  const entrances = own === null ? [shared] : [shared, own];
  const callers = entrances.map((server) => {
    const isOwn = server === own;
    return admit(server, bounds, on, (socket) => new CallerConnection(socket, turns, isOwn, bounds, on));
  });
  return {
    async close() {
      const closed = entrances.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
      await turns.close();
      // The answer to the last verb is being written.
      await nextLoop();
      for (const places of callers) for (const connection of places) connection.end();
      await Promise.all(closed);
    },
  };
}

/** Gives each that comes in here a place, as far as there are some: those of one socket take none of the other's. */
function admit(
  server: Server,
  bounds: BrokerBounds,
  on: BrokerParts['on'],
  connectionOf: (socket: Socket) => CallerConnection,
): ReadonlySet<CallerConnection> {
  const places = new Set<CallerConnection>();
  // No descriptor is left for another client, for example: it is gone, and those that are there go on.
  server.on('error', () => on({ code: 'client_refused', why: 'no_place' }));
  server.on('connection', (socket) => {
    const connection = connectionOf(socket);
    places.add(connection);
    socket.once('close', () => places.delete(connection));
    if (places.size <= bounds.places) return;
    const idle = idlest(places, connection);
    on({ code: 'client_refused', why: 'no_place' });
    places.delete(idle ?? connection);
    if (idle === null) connection.refuse(busyFault());
    else idle.end();
  });
  return places;
}

/** The idlest of those that ask nothing: first who never asked, then who asked longest ago; null if all wait for the TPM. */
function idlest(places: Iterable<CallerConnection>, newcomer: CallerConnection): CallerConnection | null {
  let found: CallerConnection | null = null;
  for (const each of places)
    if (each !== newcomer && !each.isAsking && (found === null || each.lastAt < found.lastAt)) found = each;
  return found;
}

/** A fault of the program may name anything: it goes to no client. */
function asFault(cause: unknown): ToolError {
  if (cause instanceof ToolError) return cause;
  return new ToolError('the TPM broker failed: see its log', { code: 'failed', tool: 'tpm-broker', cause });
}

type RequestOutcome = object | Buffer | ToolError;

interface QueuedRequest {
  readonly request: CheckedRequest;
  /** It came by the agent's own socket. */
  readonly isOwn: boolean;
  /** Verbs that its connection had already. */
  readonly served: number;
  readonly take: (outcome: RequestOutcome) => void;
}

/**
 * Whose turn it is: who had fewest, then who came first. A connection has one place at most. Where both sockets have some that
 * wait, they take turns: whoever opens connections without end has the agent wait for one of them, and not for all.
 */
class Turns {
  readonly #run: (request: CheckedRequest) => Promise<RequestOutcome>;
  #waiting: readonly QueuedRequest[] = [];
  #isRunning = false;
  #isClosed = false;
  #wasOwn = false;
  #idle: () => void = () => {};

  constructor(run: (request: CheckedRequest) => Promise<RequestOutcome>) {
    this.#run = run;
  }

  add(turn: QueuedRequest): void {
    this.#waiting = [...this.#waiting, turn];
    if (!this.#isRunning) void this.#work();
  }

  remove(turn: QueuedRequest): void {
    this.#waiting = this.#waiting.filter((each) => each !== turn);
  }

  /** Drops who waits; settles when nothing runs. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#waiting = [];
    if (this.#isRunning)
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
  }

  async #work(): Promise<void> {
    this.#isRunning = true;
    for (let turn = this.#next(); turn !== null; turn = this.#next())
      turn.take(await this.#run(turn.request));
    this.#isRunning = false;
    this.#idle();
  }

  #next(): QueuedRequest | null {
    if (this.#isClosed) return null;
    const others = this.#waiting.filter(({ isOwn }) => isOwn !== this.#wasOwn);
    const waiting = others.length > 0 ? others : this.#waiting;
    const least = Math.min(...waiting.map(({ served }) => served));
    const next = waiting.find(({ served }) => served === least) ?? null;
    if (next === null) return null;
    this.#wasOwn = next.isOwn;
    this.remove(next);
    return next;
  }
}

/** One client, from its first byte to its last. */
class CallerConnection {
  readonly #socket: Socket;
  readonly #turns: Turns;
  readonly #isOwn: boolean;
  readonly #bounds: BrokerBounds;
  readonly #on: (event: BrokerEvent) => void;
  readonly #reader = new FrameReader(requestBounds);
  readonly #closed = new AbortController();
  /** Ends what waits for the TPM, or for the client to take its answer. */
  #abandon: () => void = () => {};
  #patience: NodeJS.Timeout | undefined;
  #tokens: number;
  #filledAt = performance.now();
  #served = 0;
  #isBusy = false;
  /** When it last asked; until then negative, the older the smaller. */
  lastAt = performance.now() - 1e15;
  /** Waits for the TPM, or is being answered by it. */
  isAsking = false;

  constructor(
    socket: Socket,
    turns: Turns,
    isOwn: boolean,
    bounds: BrokerBounds,
    on: (event: BrokerEvent) => void,
  ) {
    this.#socket = socket;
    this.#turns = turns;
    this.#isOwn = isOwn;
    this.#bounds = bounds;
    this.#on = on;
    this.#tokens = bounds.burst;
    // A client that went away: `close` follows.
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      this.#reader.push(chunk);
      if (!this.#isBusy) void this.#work();
    });
    socket.once('close', () => {
      clearTimeout(this.#patience);
      this.#reader.clear();
      this.#closed.abort();
      this.#abandon();
    });
    this.#await();
  }

  end(): void {
    this.#socket.destroy();
  }

  /** Says why, and closes. */
  refuse(fault: ToolError): void {
    this.#isBusy = true;
    this.#socket.pause();
    clearTimeout(this.#patience);
    // So short an answer is the kernel's at once, and the client reads it although we are gone.
    this.#socket.end(encodeFrame('json', Buffer.from(JSON.stringify(faultAnswer(fault)))), () => this.end());
  }

  /** Starts the time in which the client must do its part. */
  #await(): void {
    clearTimeout(this.#patience);
    this.#patience = setTimeout(() => {
      this.#on({ code: 'client_refused', why: 'silent' });
      this.end();
    }, this.#bounds.patienceMs);
  }

  async #work(): Promise<void> {
    this.#isBusy = true;
    this.#socket.pause();
    try {
      for (let frame = this.#reader.next(); frame !== null; frame = this.#reader.next()) {
        clearTimeout(this.#patience);
        const request = parseRequest(frame.payload);
        frame.payload.fill(0);
        await this.#pace();
        await this.#send(await this.#ask(request));
        if (this.#socket.destroyed) return;
        this.#await();
      }
    } catch (error) {
      if (this.#socket.destroyed) return;
      const isFrame = error instanceof FrameError;
      this.#on({ code: 'client_refused', why: isFrame ? 'frame' : 'request' });
      this.refuse(
        isFrame ? new ToolError(error.message, { code: 'bad_input', tool: 'tpm-broker' }) : asFault(error),
      );
      return;
    }
    this.#isBusy = false;
    this.#socket.resume();
  }

  /** Waits where the connection asks too often. */
  async #pace(): Promise<void> {
    const { perSecond, burst } = this.#bounds;
    const now = performance.now();
    this.#tokens = Math.min(burst, this.#tokens + ((now - this.#filledAt) / 1000) * perSecond);
    this.#filledAt = now;
    this.#tokens--;
    if (this.#tokens >= 0) return;
    const ms = (-this.#tokens / perSecond) * 1000;
    await sleep(ms, undefined, { signal: this.#closed.signal }).catch(() => undefined);
  }

  async #ask(request: CheckedRequest): Promise<RequestOutcome | null> {
    if (this.#closed.signal.aborted) return null;
    this.isAsking = true;
    this.lastAt = performance.now();
    const outcome = await new Promise<RequestOutcome | null>((resolve) => {
      const take = (given: RequestOutcome) => {
        // Nobody is there to take the secret.
        if (this.#closed.signal.aborted && Buffer.isBuffer(given)) given.fill(0);
        resolve(given);
      };
      const turn: QueuedRequest = { request, isOwn: this.#isOwn, served: this.#served, take };
      this.#abandon = () => {
        this.#turns.remove(turn);
        resolve(null);
      };
      this.#turns.add(turn);
    });
    this.isAsking = false;
    this.#served++;
    return outcome;
  }

  async #send(outcome: RequestOutcome | null): Promise<void> {
    if (outcome === null) return;
    const isSecret = Buffer.isBuffer(outcome);
    if (this.#socket.destroyed) {
      if (isSecret) outcome.fill(0);
      return;
    }
    const payload = isSecret ? outcome : Buffer.from(JSON.stringify(jsonOf(outcome)));
    const frame = encodeFrame(isSecret ? 'secret' : 'json', payload);
    payload.fill(0);
    this.#await();
    await new Promise<void>((resolve) => {
      this.#abandon = resolve;
      this.#socket.write(frame, () => resolve());
    });
    frame.fill(0);
  }
}

function jsonOf(outcome: object): object {
  return outcome instanceof ToolError ? faultAnswer(outcome) : outcome;
}
