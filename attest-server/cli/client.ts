import { Agent, request as httpsRequest } from 'node:https';
import type { z } from 'zod';
import { dateFault, dateFaults } from '../protocol/certificate-dates.ts';
import { printable } from '../protocol/printable.ts';
import { anyProblem } from '../protocol/problem.ts';
import { isReasonCode } from '../protocol/reasons.ts';
import { CliError, exit } from './exit.ts';
import type { ServerAccess } from './server-access.ts';
import { shownChain } from './shown-chain.ts';

/** Asks the API. Every answer is bounded and given its shape; every fault is a CliError that says what to do. */
export interface Client {
  readonly server: URL;
  get<T extends z.ZodType>(path: string, schema: T): Promise<z.output<T>>;
  post<T extends z.ZodType>(path: string, body: unknown, schema: T): Promise<z.output<T>>;
  delete<T extends z.ZodType>(path: string, schema: T): Promise<z.output<T>>;
  /** The exact text of an answer. */
  text(path: string): Promise<string>;
  /** Gives up whatever is still asked. */
  close(): void;
}

/** What the server answered in place of what was asked for. */
export class Refusal extends CliError {
  /** Of HTTP. */
  readonly status: number;
  /** Of the problem; null where a server of before says none. */
  readonly code: string | null;

  constructor(status: number, code: string | null, text: string, hint: string | null) {
    super(text, hint);
    this.status = status;
    this.code = code;
  }
}

/** The server did not answer; it may do so later. */
export class NoAnswer extends CliError {}

const maxAnswerBytes = 64 * 1024 * 1024;
const timeoutMs = 30_000;

export function createClient(access: ServerAccess): Client {
  // A list of many pages goes over one connection; nobody waits for it at the end.
  const agent = new Agent({ keepAlive: true });
  const ask = async (method: string, path: string, body?: unknown) => {
    const answer = await send(access, agent, method, path, body === undefined ? null : JSON.stringify(body));
    if (answer.status >= 200 && answer.status < 300) return answer.text;
    throw refusal(access, path, answer.status, answer.text);
  };
  const shaped = <T extends z.ZodType>(text: string, schema: T): z.output<T> => {
    const result = schema.safeParse(parseJson(text));
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
    close: () => agent.destroy(),
  };
}

function send(
  { server, token, ca }: ServerAccess,
  agent: Agent,
  method: string,
  path: string,
  body: string | null,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error) => {
      if (cause instanceof CliError) reject(cause);
      else connectionError(server, cause).then(reject);
    };
    const request = httpsRequest(
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
          if (size > maxAnswerBytes)
            request.destroy(new CliError('the answer is too large', 'Is this the server?'));
        });
        response.on('error', fail);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
        );
      },
    );
    request.setTimeout(timeoutMs, () =>
      request.destroy(
        new NoAnswer(`${server.host} gave no answer within ${timeoutMs / 1000} s`, 'Try again.'),
      ),
    );
    request.on('error', fail);
    request.end(body ?? undefined);
  });
}

async function connectionError(server: URL, cause: Error): Promise<CliError> {
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : '';
  if (dateFaults.has(code)) {
    const fault = dateFault(await shownChain(server), Date.now());
    if (fault !== null) return new CliError(`${server.host}: ${fault.text}`, fault.hint, exit.error, cause);
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return new CliError(
      `the certificate of ${server.host} is for another name`,
      'Use the name in the certificate with --server.',
      exit.error,
      cause,
    );
  if (/CERT|SELF_SIGNED|UNABLE_TO_(VERIFY|GET)/.test(code))
    return new CliError(
      `the certificate of ${server.host} is not trusted (${code})`,
      "Name the file of the server's authority with --ca-file or ASSAY_CA_FILE.",
      exit.error,
      cause,
    );
  if (code === 'ERR_INVALID_CHAR')
    return new CliError('the token file is empty', 'Name another one with --token-file.', exit.error, cause);
  return new NoAnswer(
    `the server ${server.host} cannot be reached (${code || printable(cause.message)})`,
    'Is it running, and is --server right?',
    exit.error,
    cause,
  );
}

function refusal({ server }: ServerAccess, path: string, status: number, text: string): Refusal {
  const said = anyProblem.safeParse(parseJson(text)).data;
  const detail = printable(said?.detail ?? `status ${status}`);
  const code = said?.code ?? null;
  const because = (sentence: string, hint: string | null) => new Refusal(status, code, sentence, hint);
  if (status === 401)
    return because(`${server.host} refused the token`, 'Name the file of a valid one with --token-file.');
  if (status === 403) return because(`not allowed: ${detail}`, 'Use a token of that role with --token-file.');
  if (code === 'unknown_path')
    return because(
      `${server.host} does not know ${path.replace(/\?.*/s, '')}`,
      'Use the command line of the same version as the server.',
    );
  if (status === 404) return because(`not found: ${detail}`, `See what is known:\n  ${listing(path)}`);
  if (said?.code === 'server_fault')
    return because(`the server cannot do this now: ${detail} (server_fault)`, nextOf(said.next));
  if (status >= 500) return because(`the server failed: ${detail}`, "Look into the server's log.");
  // The person gave an argument, and no field of a request.
  const given = detail.replace(/^(body|query)\./, '');
  // Reason codes are words that documents explain; the others say what the sentence says.
  const word = code !== null && isReasonCode(code) ? `${code}: ` : '';
  return because(`the server refused: ${word}${given}`, hintOf(status));
}

function hintOf(status: number): string | null {
  if (status === 400) return 'Correct it, and try again.';
  return status === 429 ? 'Try again in a few seconds.' : null;
}

/** Lines of the server, each made printable where it is shown. */
function nextOf(next: string | undefined): string | null {
  return next === undefined ? null : next.split('\n').join('\n  ');
}

function listing(path: string): string {
  if (path.startsWith('/v1/tokens')) return 'assay token list';
  const [, ofNode] = /^\/v1\/nodes\/([^/]+)\/bundle\?evidence=/.exec(path) ?? [];
  if (ofNode !== undefined) return `assay history ${printable(decodeURIComponent(ofNode))} -o wide`;
  return path.startsWith('/v1/references/') ? 'assay reference list' : 'assay get nodes';
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
