import type { IncomingMessage } from 'node:http';
import type { Agent, request as httpsRequest } from 'node:https';
import type { z } from 'zod';
import { anyProblem } from '../api/problem.ts';
import { jsonOrNothing } from '../wire/parse-json.ts';
import { printable } from '../wire/printable.ts';
import { isReasonCode } from '../wire/reasons.ts';
import { CliError, exit } from './exit.ts';
import type { ServerAccess } from './server-access.ts';

/** Asks the API. Every answer is bounded and given its shape; every fault is a CliError that says what to do. */
export interface Client {
  readonly server: URL;
  get<T extends z.ZodType>(path: string, schema: T): Promise<z.output<T>>;
  post<T extends z.ZodType>(path: string, body: unknown, schema: T): Promise<z.output<T>>;
  delete<T extends z.ZodType>(path: string, schema: T): Promise<z.output<T>>;
  /** The exact text of an answer. */
  text(path: string): Promise<string>;
  /** Lines of an answer that goes on, as they come. @throws NoAnswer if the connection is lost, or nothing comes for 45 s */
  lines(path: string, options: LineOptions): AsyncIterable<string>;
  /** The server's clock as its latest answer said it, in milliseconds since the epoch; null if none did. */
  answeredAt(): number | null;
  /** Gives up whatever is still asked. */
  close(): void;
}

export interface LineOptions {
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** The server's answer in place of what was asked for. */
export class Refusal extends CliError {
  /** The HTTP status. */
  readonly status: number;
  /** The code of the problem; null if an older server names none. */
  readonly code: string | null;

  constructor(status: number, code: string | null, text: string, hint: string | null) {
    super(text, hint, code === 'latched' ? exit.held : exit.error);
    this.status = status;
    this.code = code;
  }
}

/** The server did not answer; it may do so later. */
export class NoAnswer extends CliError {}

/** A fault that a server has for a while: it starts again, or has too much to do. */
export function mayPass(error: unknown): error is Error {
  if (error instanceof NoAnswer) return true;
  return error instanceof Refusal && (error.status >= 500 || error.status === 429);
}

/** A bundle may hold the long list of a kernel, and all lists of known files. */
const maxAnswerBytes = 256 * 1024 * 1024;

/** Length of an answer from which on it pays that zod compiles the schema: about a thousand nodes. */
const compiledFrom = 1024 * 1024;

/** @param withinMs from the question to the end of the answer, whatever takes the time */
export async function createClient(access: ServerAccess, withinMs = 30_000): Promise<Client> {
  // Who asks no server waits for no TLS.
  const { Agent, request } = await import('node:https');
  // A list of many pages goes over one connection; nobody waits for it at the end.
  const agent = new Agent({ keepAlive: true });
  let answeredAt = Number.NaN;
  const ask = async (method: string, path: string, body?: unknown) => {
    const answer = await send(
      access,
      request,
      agent,
      { method, path, body: body === undefined ? null : JSON.stringify(body) },
      withinMs,
    );
    answeredAt = Date.parse(answer.date);
    if (answer.status >= 200 && answer.status < 300) return answer.text;
    throw refusal(access, path, answer.status, answer.text);
  };
  const shaped = <T extends z.ZodType>(text: string, schema: T): z.output<T> => {
    const result = schema.safeParse(jsonOrNothing(text), { jitless: text.length < compiledFrom });
    if (result.success) return result.data;
    const field = result.error.issues[0]?.path.join('.') || 'answer';
    throw new CliError(
      `the server's answer has another shape than expected (${printable(field)})`,
      'Use the command line of the same version as the server.',
    );
  };
  return {
    server: access.server,
    get: async (path, schema) => shaped(await ask('GET', path), schema),
    post: async (path, body, schema) => shaped(await ask('POST', path, body), schema),
    delete: async (path, schema) => shaped(await ask('DELETE', path), schema),
    text: (path) => ask('GET', path),
    lines: (path, options) => linesOf(access, request, agent, path, options),
    answeredAt: () => (Number.isFinite(answeredAt) ? answeredAt : null),
    close: () => agent.destroy(),
  };
}

interface ApiRequest {
  readonly method: string;
  readonly path: string;
  readonly body: string | null;
}

function send(
  access: ServerAccess,
  makeRequest: typeof httpsRequest,
  agent: Agent,
  { method, path, body }: ApiRequest,
  withinMs: number,
): Promise<{ status: number; text: string; date: string }> {
  const { server, token, ca } = access;
  return new Promise((resolve, reject) => {
    const fail = (cause: Error) => {
      clearTimeout(deadline);
      if (cause instanceof CliError) reject(cause);
      else connectionError(access, cause).then(reject);
    };
    const request = makeRequest(
      new URL(path, server),
      {
        method,
        agent,
        ...(ca !== null && { ca }),
        headers: {
          authorization: `Bearer ${token}`,
          accept: 'application/json',
          ...(body !== null && {
            'content-type': 'application/json',
            'content-length': String(Buffer.byteLength(body)),
          }),
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on('data', (chunk: Buffer) => {
          size += chunk.length;
          chunks.push(chunk);
          if (size > maxAnswerBytes) giveUp(new CliError('the answer is too large', 'Is this the server?'));
        });
        response.on('error', fail);
        response.on('end', () => {
          clearTimeout(deadline);
          const { statusCode: status = 0, headers } = response;
          resolve({ status, text: Buffer.concat(chunks).toString('utf8'), date: headers.date ?? '' });
        });
      },
    );
    const giveUp = (why: CliError) => {
      fail(why);
      request.destroy();
    };
    // Of the whole, not of a pause: a server that sends a byte now and then would be waited for without end.
    const deadline = setTimeout(
      () =>
        giveUp(new NoAnswer(`${server.host} gave no whole answer within ${withinMs / 1000} s`, whileItHangs)),
      withinMs,
    );
    request.on('error', fail);
    request.end(body ?? undefined);
  });
}

/** The server writes something at least each 15 s. */
const silentFor = 45_000;
const longestLine = 256 * 1024;

async function* linesOf(
  access: ServerAccess,
  makeRequest: typeof httpsRequest,
  agent: Agent,
  path: string,
  { headers, signal }: LineOptions,
): AsyncGenerator<string> {
  const { server, token, ca } = access;
  const request = makeRequest(new URL(path, server), {
    ...{ agent, signal, timeout: silentFor, ...(ca !== null && { ca }) },
    headers: { authorization: `Bearer ${token}`, accept: 'text/event-stream', ...headers },
  });
  request.on('timeout', () =>
    request.destroy(new NoAnswer(`${server.host} said nothing for ${silentFor / 1000} s`, whileItHangs)),
  );
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      // A loss that comes after it is told by the response.
      request.on('response', resolve).on('error', reject).end();
    });
    const { statusCode: status = 0 } = response;
    let rest = '';
    for await (const chunk of response.setEncoding('utf8')) {
      const lines = `${rest}${chunk}`.split('\n');
      if (status === 200) yield* lines.slice(0, -1);
      rest = status === 200 ? (lines.at(-1) ?? '') : lines.join('\n');
      if (rest.length > longestLine) throw new CliError('the answer is too large', 'Is this the server?');
    }
    if (status !== 200) throw refusal(access, path, status, rest);
  } catch (error) {
    if (error instanceof CliError || signal.aborted || !(error instanceof Error)) throw error;
    throw await connectionError(access, error);
  } finally {
    request.destroy();
  }
}

const whileItHangs =
  'Try again. If this continues, check the server: its log, its /readyz, and how busy its disk and processor are.';

const whereTheApiIs = 'The API is on the port apiPort of the server, 8444 where nothing else is set:';

async function connectionError(access: ServerAccess, cause: Error): Promise<CliError> {
  const { server, startedBy } = access;
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : '';
  const because = (text: string, hint: string) => new CliError(text, hint, exit.error, cause);
  if (/CERT|SELF_SIGNED|UNABLE_TO_(VERIFY|GET)/.test(code)) {
    const { certificateFault } = await import('./certificate-fault.ts');
    const fault = await certificateFault(access, code, cause);
    return fault ?? notStarted(access, `another server answers at ${server.host}`, cause);
  }
  if (code === 'ERR_INVALID_CHAR')
    return because('the token file holds no token', 'Name another one with --token-file.');
  if (code === 'ECONNREFUSED' && startedBy !== null)
    return notStarted(access, `nothing listens at ${server.host}`, cause);
  return new NoAnswer(...unreachable(server, code, cause), exit.error, cause);
}

/** `npm start` of this folder named a server that is not there any more. */
function notStarted({ startedBy }: ServerAccess, what: string, cause: Error): CliError {
  return new NoAnswer(
    `npm start no longer runs in this folder: ${what}, which ${startedBy} names`,
    'Start it, or name another server with --server, --token-file and --ca-file:\n  npm start',
    exit.error,
    cause,
  );
}

function unreachable(server: URL, code: string, cause: Error): [text: string, hint: string] {
  const at8444 = `  --server https://${server.hostname}:8444`;
  if (code === 'ECONNREFUSED')
    return [
      `the server ${server.host} cannot be reached: nothing listens there`,
      server.port === '8444'
        ? 'Is the server running? Check on its machine, or in its cluster:\n  systemctl status assay-server\n  kubectl --namespace assay get pods'
        : `Is the server running on that machine? ${whereTheApiIs}\n${at8444}`,
    ];
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return [
      `the server ${server.host} cannot be reached: no address is known for that name (${code})`,
      'See whether --server (ASSAY_SERVER) is spelt right, and whether the name server of this machine knows it.',
    ];
  if (code === 'EPROTO' && /wrong version number|packet length too long/i.test(cause.message))
    return [
      `${server.host} does not speak TLS, as the API does`,
      `Is that the port of the metrics? ${whereTheApiIs}\n${at8444}`,
    ];
  return [
    `the server ${server.host} cannot be reached (${code || printable(cause.message)})`,
    'See whether it runs, whether --server is right, and whether a firewall lets that port through.',
  ];
}

function refusal({ server, tokenFile }: ServerAccess, path: string, status: number, text: string): Refusal {
  const said = anyProblem.safeParse(jsonOrNothing(text)).data;
  const detail = printable(said?.detail ?? `status ${status}`);
  const code = said?.code ?? null;
  const because = (sentence: string, hint: string | null) => new Refusal(status, code, sentence, hint);
  // No part of the API answers this way: it is how the agents' port asks for WebSocket.
  if (status === 426)
    return because(
      `${server.host} is the port of the agents`,
      `${whereTheApiIs}\n  --server https://${server.hostname}:8444`,
    );
  if (status >= 400 && said === undefined && status < 500)
    return because(
      `${server.host} does not answer as a server of Assay does (status ${status})`,
      `See whether --server is right. ${whereTheApiIs}\n  --server https://${server.hostname}:8444`,
    );
  if (status === 401)
    return said?.next === undefined
      ? because(`${server.host} refused the token in ${tokenFile}`, anotherToken)
      : because(`${server.host} refused the token in ${tokenFile}: ${detail}`, said.next);
  if (status === 403)
    return because(`not allowed: ${detail}`, said?.next ?? 'Use a token of that role with --token-file.');
  if (code === 'unknown_path')
    return because(
      `${server.host} does not know ${path.replace(/\?.*/s, '')}`,
      'Use the command line of the same version as the server.',
    );
  if (status === 404)
    return because(`not found: ${detail}`, said?.next ?? `See what is known:\n  ${listing(path)}`);
  if (said?.code === 'server_fault')
    return because(`the server cannot do this now: ${detail} (server_fault)`, said.next ?? null);
  if (code === 'cluster_failed')
    return because(
      `the cluster did not do it: ${detail}`,
      'See what the server says of the cluster:\n  assay status',
    );
  if (status >= 500)
    return because(
      `the server failed: ${detail}`,
      "Read the server's log, on its machine or in its cluster:\n  journalctl -u assay-server -n 50\n  kubectl --namespace assay logs assay-server-0 --tail 50",
    );
  // The person gave an argument, and no field of a request.
  const given = detail.replace(/^(body|query)\./, '');
  // Reason codes are words that documents explain; the others say what the sentence says.
  const word = code !== null && isReasonCode(code) ? `${code}: ` : '';
  return because(`the server refused: ${word}${given}`, said?.next ?? hintOf(status));
}

const anotherToken =
  'It was revoked, belongs to another server, or is incomplete. Name another file with --token-file; somebody with the role admin can make a token:\n  assay token create --name NAME --role reader';

function hintOf(status: number): string | null {
  if (status === 400) return 'Correct it, and try again.';
  return status === 429 ? 'Try again in a few seconds.' : null;
}

function listing(path: string): string {
  if (path.startsWith('/v1/tokens')) return 'assay token list';
  const [, ofNode] = /^\/v1\/nodes\/([^/]+)\/bundle\?evidence=/.exec(path) ?? [];
  if (ofNode !== undefined) return `assay history ${printable(decodeURIComponent(ofNode))} -o wide`;
  if (path.startsWith('/v1/cluster/exemptions/')) return 'assay status';
  return path.startsWith('/v1/references/') ? 'assay reference list' : 'assay get nodes';
}
