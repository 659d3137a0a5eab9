import type { ServerResponse } from 'node:http';
import type { EventFeed, FeedEntry, Listener } from '../events/feed.ts';
import type { ApiPorts, ListenRequest } from './ports.ts';
import { HttpProblem } from './problem.ts';
import type { Caller } from './roles.ts';

/** Why a stream ended: it went, had its fill, was too slow, its token ended, or others wanted its place. */
export const streamEnds = ['left', 'done', 'slow', 'token', 'place', 'fault'] as const;
export type StreamEnd = (typeof streamEnds)[number];

export interface EventStreamsParts extends Pick<ApiPorts, 'tokens' | 'groupOf' | 'now'> {
  readonly feed: EventFeed;
  readonly ended: (why: StreamEnd) => void;
  readonly fault: (error: unknown, where: string) => void;
}

export interface StreamTimings {
  /** Milliseconds between two comments, which keep a connection open and look whether its token still counts. */
  readonly commentEvery: number;
  /** Milliseconds for which a listener may take nothing. */
  readonly drainedWithin: number;
}

/** Listeners at a time. */
const most = 200;
/** Comments for which nobody could say whose token it is, as while the API of a cluster is away. */
const unconfirmed = 4;

/** The listeners of `GET /v1/events`. */
export class EventStreams implements Disposable {
  readonly #parts: EventStreamsParts;
  readonly #timings: StreamTimings;
  /** In the order in which they came. */
  readonly #streams = new Set<EventStream>();
  readonly #comments: NodeJS.Timeout;

  constructor(parts: EventStreamsParts, timings: StreamTimings) {
    this.#parts = parts;
    this.#timings = timings;
    this.#comments = setInterval(() => {
      for (const stream of this.#streams) void stream.comment();
    }, timings.commentEvery).unref();
  }

  get size(): number {
    return this.#streams.size;
  }

  /**
   * @returns what writes the stream into an answer
   * @throws HttpProblem 409 where the log has no such event, 429 where this caller has enough listeners
   */
  async open(request: ListenRequest): Promise<(response: ServerResponse) => void> {
    const { feed } = this.#parts;
    const { after, isLive, caller } = request;
    const from = after === null ? await feed.head() : await feed.find(after);
    if (from === null)
      throw new HttpProblem(409, `the audit log has no event ${JSON.stringify(after?.slice(0, 64))}`, {
        next: 'It has others under its number, as after a backup was restored. Read the nodes again, and listen without an id.',
      });
    this.#checkPlace(caller);
    return (response) => {
      // Others may have come since.
      if (this.#streams.size >= most) this.#longest()[0]?.end('place');
      const stream = new EventStream(request, response, this.#parts, this.#timings);
      this.#streams.add(stream);
      stream.signal.addEventListener('abort', () => this.#streams.delete(stream), { once: true });
      feed.follow(from, stream, isLive).then(() => !isLive && stream.end('done'), stream.failed);
    };
  }

  [Symbol.dispose](): void {
    clearInterval(this.#comments);
    for (const stream of this.#streams) stream.end('left');
  }

  /** Attack: one token takes all places. So whoever has most of them gives one to a caller who has fewer. */
  #checkPlace({ name }: Caller): void {
    if (this.#streams.size < most) return;
    const own = [...this.#streams].filter(({ caller }) => caller === name).length;
    if (this.#longest().length <= own + 1)
      throw new HttpProblem(429, `${most} programs listen already`, { headers: { 'retry-after': '15' } });
  }

  /** Those of the caller who has most, the oldest first. */
  #longest(): readonly EventStream[] {
    const byCaller = Map.groupBy(this.#streams, ({ caller }) => caller);
    const [longest = []] = [...byCaller.values()].sort((a, b) => b.length - a.length);
    return longest;
  }
}

/** One answer that does not end: Server-Sent Events, as the HTML standard has them. */
class EventStream implements Listener {
  readonly #request: ListenRequest;
  readonly #response: ServerResponse;
  readonly #parts: EventStreamsParts;
  readonly #timings: StreamTimings;
  readonly #over = new AbortController();
  /** The id of the latest entry that was looked at, told or not; null once it is on its way. */
  #position: string | null = null;
  #draining: Promise<void> | null = null;
  #asking: Promise<unknown> | null = null;
  #unconfirmed = 0;

  constructor(
    request: ListenRequest,
    response: ServerResponse,
    parts: EventStreamsParts,
    timings: StreamTimings,
  ) {
    this.#request = request;
    this.#response = response;
    this.#parts = parts;
    this.#timings = timings;
    response.on('close', () => this.end('left'));
    response.on('error', () => this.end('left'));
    response.write(': listening\n\n');
  }

  get caller(): string {
    return this.#request.caller.name;
  }

  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** The listener resumes from the last id that it got. */
  end(why: StreamEnd): void {
    if (this.signal.aborted) return;
    this.#over.abort();
    this.#parts.ended(why);
    // Who wanted what there is must not take a part for the whole.
    const isCut = why === 'slow' || (why !== 'done' && !this.#request.isLive);
    if (isCut) this.#response.destroy();
    else this.#response.end();
  }

  readonly failed = (error: unknown): void => {
    if (this.signal.aborted) return;
    this.#parts.fault(error, 'events');
    this.end('fault');
  };

  take({ id, entry, message }: FeedEntry): boolean {
    if (this.#isOver()) return true;
    const isWanted = message !== null && this.#wants(message);
    this.#position = isWanted ? null : id;
    if (isWanted) this.#write(`id: ${id}\nevent: ${message.event}\ndata: ${message.body}\n\n`);
    // A new token may have the name of one that was revoked.
    if (entry.action === 'token.revoke' && this.caller === `token:${entry.subject}`)
      this.#asking = this.#isConfirmed();
    return this.#draining === null && this.#asking === null;
  }

  async ready(): Promise<void> {
    await this.#asking;
    this.#asking = null;
    await this.#draining;
  }

  /** Also tells a listener for whom nothing was how far the log is, so that it need not begin where it began. */
  async comment(): Promise<void> {
    if (this.#isOver() || !(await this.#isConfirmed()) || this.#draining !== null) return;
    this.#write(this.#position === null ? ':\n\n' : `id: ${this.#position}\n\n`);
    this.#position = null;
  }

  #wants({ node, subject, event }: NonNullable<FeedEntry['message']>): boolean {
    const { filter } = this.#request;
    if (filter.event !== undefined && !filter.event.some((each) => each === event)) return false;
    if (filter.node !== undefined && filter.node !== node) return false;
    if (filter.group === undefined) return true;
    return filter.group === (node === null ? subject : this.#parts.groupOf(node).name);
  }

  #write(text: string): void {
    if (this.signal.aborted) return;
    if (!this.#response.write(text)) this.#draining ??= this.#drained();
  }

  /** Resolves once the listener took all, or the stream ended, as it does where it takes nothing. */
  #drained(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const late = setTimeout(() => this.end('slow'), this.#timings.drainedWithin).unref();
    const done = () => {
      clearTimeout(late);
      // One that stalls again and again leaves nothing behind each time.
      this.#response.off('drain', done);
      this.signal.removeEventListener('abort', done);
      this.#draining = null;
      resolve();
    };
    this.#response.on('drain', done);
    this.signal.addEventListener('abort', done);
    return promise;
  }

  #isOver(): boolean {
    const { expiresAt } = this.#request.caller;
    if (expiresAt !== null && this.#parts.now() >= expiresAt) this.end('token');
    return this.signal.aborted;
  }

  /** Whether the token is still that of the same caller: it may have been taken back, or its file replaced. */
  async #isConfirmed(): Promise<boolean> {
    const { authorization, address, caller } = this.#request;
    try {
      const now = await this.#parts.tokens.authenticate(authorization, address);
      if (now === null || 'expiredAt' in now || now.name !== caller.name || now.role === 'none')
        this.end('token');
      this.#unconfirmed = 0;
    } catch {
      // The API of the cluster does not answer.
      this.#unconfirmed += 1;
      if (this.#unconfirmed >= unconfirmed) this.end('token');
    }
    return !this.signal.aborted;
  }
}
