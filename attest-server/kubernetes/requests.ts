import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import type { Readable } from 'node:stream';
import { z } from 'zod';
import { ClusterError } from '../marking/ports.ts';
import type { Access, Credentials, TlsOptions } from './access.ts';
import { Lane } from './lane.ts';
import { errorOf } from './status.ts';

/** As the API's own rules of rights call it, with `apply` for a server-side apply. */
export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'apply' | 'delete';

export interface ClusterRequest {
  readonly verb: Verb;
  /** Plural, with the subresource: `nodes/status`. */
  readonly resource: string;
  /** Where it is not the server's own: rights there are others. */
  readonly namespace?: string;
  /** For people; empty of a list. */
  readonly name: string;
  /** Each part already encoded: `/api/v1/nodes/a`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Whether the body is a patch that tests what it changes. */
  readonly tests?: boolean;
  /** The body holds a secret: an error repeats nothing of what the API says, which may be what it was sent. */
  readonly isSecret?: boolean;
  /** Bytes of the longest answer; default: a page of a list of Nodes that name all their images. */
  readonly longest?: number;
  /** Requests of one lane wait for each other, and for nobody else. */
  readonly lane: LaneName;
}

/**
 * Requests that do not wait for those of another lane: marks, resources of nodes, tokens of agents, of strangers and of
 * people, lists, and Events last.
 */
const lanes = {
  marks: { atOnce: 8, mayWait: 4096 },
  resources: { atOnce: 8, mayWait: 4096 },
  agents: { atOnce: 8, mayWait: 1024 },
  strangers: { atOnce: 8, mayWait: 1024 },
  people: { atOnce: 4, mayWait: 256 },
  reads: { atOnce: 4, mayWait: 64 },
  events: { atOnce: 2, mayWait: 256 },
} as const;
type LaneName = keyof typeof lanes;

export interface RequestEvents {
  /** An answer came, with this HTTP status; null: none. */
  readonly asked: (
    request: Pick<ClusterRequest, 'verb' | 'resource' | 'namespace'>,
    code: number | null,
  ) => void;
}

export interface RequestParts {
  readonly access: Access;
  readonly on: RequestEvents;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
  /** Milliseconds to wait for one's turn, and again for the answer. */
  readonly within?: number;
}

const mostBytes = 64 * 1024 * 1024;
/** Tokens are replaced within the hour; those who read them look once a minute. */
const credentialsKept = 60_000;
const methods = {
  get: 'GET',
  list: 'GET',
  watch: 'GET',
  create: 'POST',
  update: 'PUT',
  patch: 'PATCH',
  apply: 'PATCH',
  delete: 'DELETE',
} as const satisfies Record<Verb, string>;
const contentTypes: Readonly<Partial<Record<Verb, string>>> = {
  patch: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml',
};

/** Asks the API of the cluster, within bounds of time and number. */
export class Requests implements Disposable {
  readonly #access: Access;
  readonly #on: RequestEvents;
  readonly #monotonic: () => number;
  readonly #within: number;
  readonly #ended = new AbortController();
  readonly #lanes: Readonly<Record<LaneName, Lane>>;
  #held: { readonly credentials: Credentials; readonly at: number } | null = null;
  #agent: { readonly agent: Agent; readonly of: string; readonly tls: TlsOptions } | null = null;

  constructor({ access, on, monotonic, within = 10_000 }: RequestParts) {
    this.#access = access;
    this.#on = on;
    this.#monotonic = monotonic;
    this.#within = within;
    this.#lanes = {
      marks: new Lane(lanes.marks),
      resources: new Lane(lanes.resources),
      agents: new Lane(lanes.agents),
      strangers: new Lane(lanes.strangers),
      people: new Lane(lanes.people),
      reads: new Lane(lanes.reads),
      events: new Lane(lanes.events),
    };
  }

  /** The answer's JSON. @throws ClusterError, also if it has another form than the schema's */
  async json(asked: ClusterRequest): Promise<unknown>;
  async json<T>(asked: ClusterRequest, schema: z.ZodType<T>): Promise<T>;
  async json(asked: ClusterRequest, schema: z.ZodType = z.unknown()): Promise<unknown> {
    const lane = this.#lanes[asked.lane];
    if (lane.isFull)
      throw new ClusterError(
        'too_many',
        `${whatOf(asked)}: too many requests wait for the API of the cluster`,
      );
    using _place = await this.#enter(asked, lane);
    const deadline = AbortSignal.timeout(this.#within);
    const answer = await this.#send(asked, AbortSignal.any([deadline, this.#ended.signal]));
    let said: unknown;
    try {
      said = parse(await readAll(answer, asked.longest));
    } catch (cause) {
      const reason = deadline.aborted ? 'unreachable' : 'failed';
      throw new ClusterError(reason, `${whatOf(asked)}: ${textOf(cause)}`, null, cause);
    }
    const { success, data, error } = schema.safeParse(said);
    if (success) return data;
    const text = `${whatOf(asked)}: the API of the cluster answers with another kind of object`;
    throw new ClusterError('failed', text, null, error);
  }

  /** An answer that goes on until the signal. Its head comes in time, or not at all. @throws ClusterError */
  async stream(asked: ClusterRequest, signal: AbortSignal): Promise<Readable> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new Error('no answer in time')), this.#within);
    try {
      return await this.#send(asked, AbortSignal.any([signal, late.signal, this.#ended.signal]));
    } finally {
      clearTimeout(timer);
    }
  }

  [Symbol.dispose](): void {
    this.#ended.abort(new Error('the server ends'));
    this.#agent?.agent.destroy();
  }

  async #enter(asked: ClusterRequest, lane: Lane): Promise<Disposable> {
    try {
      return await lane.enter(AbortSignal.any([AbortSignal.timeout(this.#within), this.#ended.signal]));
    } catch (cause) {
      throw new ClusterError('unreachable', `${whatOf(asked)}: ${textOf(cause)}`, null, cause);
    }
  }

  async #send(asked: ClusterRequest, signal: AbortSignal): Promise<IncomingMessage> {
    let answer: IncomingMessage;
    try {
      answer = await this.#open(asked, await this.#credentials(), signal);
    } catch (cause) {
      this.#on.asked(asked, null);
      throw new ClusterError('unreachable', `${whatOf(asked)}: ${textOf(cause)}`, null, cause);
    }
    const code = answer.statusCode ?? 0;
    this.#on.asked(asked, code);
    if (code >= 200 && code < 300) return answer;
    // Another token may be there by now.
    if (code === 401) this.#held = null;
    const said = await readAll(answer, asked.longest)
      .then(parse)
      .catch(() => null);
    const { tests = false, isSecret = false } = asked;
    throw errorOf({
      code,
      body: isSecret ? null : said,
      retryAfter: answer.headers['retry-after'],
      what: whatOf(asked),
      tests,
    });
  }

  #open(
    asked: ClusterRequest,
    credentials: Credentials,
    signal: AbortSignal,
    isAgain = false,
  ): Promise<IncomingMessage> {
    const { headers, tls, agent } = credentials;
    const { url } = this.#access;
    const body = asked.body === undefined ? null : JSON.stringify(asked.body);
    const query = new URLSearchParams({
      ...asked.query,
      ...(body !== null && { fieldManager: 'assay-server' }),
    }).toString();
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          protocol: url.protocol,
          hostname: url.hostname.replace(/^\[|\]$/g, ''),
          port: url.port === '' ? 443 : url.port,
          path: `${url.pathname.replace(/\/$/, '')}${asked.path}${query === '' ? '' : `?${query}`}`,
          method: methods[asked.verb],
          ...tls,
          agent: agent ?? this.#agentFor(tls),
          signal,
          headers: {
            ...headers,
            accept: 'application/json',
            'user-agent': 'assay-server',
            ...(body !== null && {
              'content-type': contentTypes[asked.verb] ?? 'application/json',
              'content-length': String(Buffer.byteLength(body)),
            }),
          },
        },
        resolve,
      );
      sent.once('error', (error) => {
        // The API closed a connection that was kept, just when it was to be used: nothing was heard of the request.
        const isStale = sent.reusedSocket && 'code' in error && error.code === 'ECONNRESET';
        if (!isStale || isAgain) reject(error);
        else this.#open(asked, credentials, signal, true).then(resolve, reject);
      });
      sent.end(body ?? undefined);
    });
  }

  async #credentials(): Promise<Credentials> {
    const now = this.#monotonic();
    if (this.#held === null || now - this.#held.at >= credentialsKept)
      this.#held = { credentials: await this.#access.credentials(), at: now };
    return this.#held.credentials;
  }

  /** Connections are kept; others are made where authority or certificate are others. */
  #agentFor(tls: TlsOptions): Agent {
    if (this.#agent?.tls === tls) return this.#agent.agent;
    const of = JSON.stringify([tls.ca, tls.cert, tls.key].map((part) => part?.toString()));
    const agent =
      this.#agent?.of === of ? this.#agent.agent : new Agent({ keepAlive: true, maxSockets: 64, timeout: 0 });
    this.#agent = { agent, of, tls };
    return agent;
  }
}

function whatOf({ verb, resource, name }: ClusterRequest): string {
  return `${verb} ${resource}${name === '' ? '' : ` ${name}`}`;
}

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return 'failed';
  if (error.name === 'AbortError' || error.name === 'TimeoutError')
    return 'no answer of the API of the cluster in time';
  return 'code' in error ? `${String(error.code)}: ${error.message}` : error.message;
}

async function readAll(answer: IncomingMessage, longest = mostBytes): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of answer) {
    if (!Buffer.isBuffer(chunk)) continue;
    length += chunk.length;
    if (length > longest) throw new Error(`an answer of more than ${longest} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parse(bytes: Buffer): unknown {
  if (bytes.length === 0) return null;
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    // The error of JSON.parse repeats a piece of what came.
    throw new Error('the answer is no JSON');
  }
}
