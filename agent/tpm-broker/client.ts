import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bank, PcrSelection, PcrValues, Quote, QuoteRequest } from 'node-tpm2';
import { ToolError } from 'node-tpm2/run';
import { AgentError } from '../agent-error.ts';
import { type BrokerFrame, encodeFrame, FrameReader } from './frames.ts';
import { answerBounds, answers, checkNoFault, decodeValues, isBusy } from './messages.ts';
import type { Request } from './requests.ts';

export interface BrokerTpmOptions {
  readonly signal?: AbortSignal;
  /** Milliseconds for one verb, its wait for others included. Default 120 s: making a key takes long. */
  readonly timeoutMs?: number;
}

/** A TPM that a broker holds: what an agent needs of node-tpm2's `Tpm`, under the same names. */
export interface BrokerTpm {
  readCapabilities(): Promise<{ readonly banks: readonly Bank[] }>;
  readEndorsementKey(): Promise<{
    readonly publicArea: Buffer;
    readonly certificate: Buffer | null;
    readonly chain: readonly Buffer[];
  }>;
  createAttestationKey(): Promise<{ readonly publicArea: Buffer; readonly name: string }>;
  activateCredential(credential: { readonly credential: Buffer; readonly secret: Buffer }): Promise<Buffer>;
  quote(request: QuoteRequest): Promise<Quote>;
  readPcrs(selection: PcrSelection): Promise<PcrValues>;
  /** There is nothing to close: each verb is a connection of its own, so a broker that restarts is simply there. */
  close(): Promise<void>;
}

/**
 * The TPM behind the broker at this socket. Each verb throws ToolError as the TPM's own would; AgentError `tpm_broker`
 * (retryable) where no broker answers.
 */
export function openBrokerTpm(socket: string, options: BrokerTpmOptions = {}): BrokerTpm {
  const ask = (request: Request) => askBroker(socket, request, options);
  const json = async (request: Request) => {
    const { kind, payload } = await ask(request);
    if (kind !== 'json') throw unreachable(socket, 'it sent something else than was asked');
    return parseJson(socket, payload);
  };
  // The three readers of an identity ask at once: one request answers all.
  let underWay: Promise<PublicAnswer> | null = null;
  const readPublic = () => {
    underWay ??= json({ verb: 'readPublic' })
      .then((value) => parse(socket, answers.readPublic, value))
      .finally(() => {
        underWay = null;
      });
    return underWay;
  };
  return {
    async readCapabilities() {
      return { banks: (await readPublic()).banks };
    },
    async readEndorsementKey() {
      const [{ ek }, certificates] = await Promise.all([readPublic(), json({ verb: 'readCertificates' })]);
      return { ...ek, ...parse(socket, answers.readCertificates, certificates) };
    },
    async createAttestationKey() {
      return (await readPublic()).ak;
    },
    async activateCredential({ credential, secret }) {
      const { kind, payload } = await ask({
        verb: 'activate',
        credential: credential.toString('base64'),
        secret: secret.toString('base64'),
      });
      if (kind === 'secret' && payload.length > 0) return payload;
      payload.fill(0);
      throw unreachable(socket, 'it sent something else than was asked');
    },
    async quote({ qualifyingData, selection }) {
      const value = await json({
        verb: 'quote',
        qualifyingData: qualifyingData.toString('base64'),
        selection: numbersOf(selection),
      });
      const quote = parse(socket, answers.quote, value);
      return { ...quote, pcrs: decodeValues(quote.pcrs) };
    },
    async readPcrs(selection) {
      const value = await json({ verb: 'readPCRs', selection: numbersOf(selection) });
      return decodeValues(parse(socket, answers.readPCRs, value).pcrs);
    },
    async close() {},
  };
}

type PublicAnswer = ReturnType<(typeof answers)['readPublic']['parse']>;

function numbersOf(selection: PcrSelection): { [bank in Bank]?: number[] } {
  const numbers: { [bank in Bank]?: number[] } = {};
  for (const bank of ['sha1', 'sha256', 'sha384', 'sha512'] as const) {
    const chosen = selection[bank];
    if (chosen !== undefined && chosen.length > 0) numbers[bank] = [...chosen];
  }
  return numbers;
}

/** A broker that has no place, or closed in favour of another, is asked again for so long. */
const askAgainMs = 10_000;

/** @throws ToolError of the broker, AgentError `tpm_broker` */
async function askBroker(socket: string, request: Request, options: BrokerTpmOptions): Promise<BrokerFrame> {
  const began = performance.now();
  for (;;) {
    try {
      const frame = await exchange(socket, request, options);
      if (frame.kind === 'json') checkNoFault(parseJson(socket, frame.payload));
      return frame;
    } catch (error) {
      const isDisplaced = error instanceof AgentError && error.cause === displaced;
      if (!(isDisplaced || isBusy(error)) || performance.now() - began > askAgainMs) throw error;
    }
    await sleep(50 + 100 * Math.random());
  }
}

/** The broker closed before it answered. */
const displaced = new Error('the connection ended without an answer');

/** One connection: the request out, the first frame back. */
function exchange(path: string, request: Request, options: BrokerTpmOptions): Promise<BrokerFrame> {
  const { signal, timeoutMs = 120_000 } = options;
  return new Promise<BrokerFrame>((resolve, reject) => {
    if (signal?.aborted) return reject(aborted(signal));
    const reader = new FrameReader(answerBounds);
    const socket = connect(path);
    const settle = (act: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      reader.clear();
      socket.destroy();
      act();
    };
    const fail = (why: string, cause?: unknown) => settle(() => reject(unreachable(path, why, cause)));
    const timer = setTimeout(() => fail(`no answer within ${timeoutMs} ms`), timeoutMs);
    const onAbort = () => settle(() => reject(aborted(signal)));
    signal?.addEventListener('abort', onAbort, { once: true });
    socket.on('error', (cause) => {
      const code = 'code' in cause ? String(cause.code) : cause.message;
      if (code === 'EPIPE' || code === 'ECONNRESET') fail(displaced.message, displaced);
      else fail(code, cause);
    });
    socket.once('close', () => fail(displaced.message, displaced));
    socket.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk);
        const frame = reader.next();
        if (frame !== null) settle(() => resolve(frame));
      } catch (cause) {
        fail('what it sent is no answer', cause);
      }
    });
    socket.write(encodeFrame('json', Buffer.from(JSON.stringify(request))));
  });
}

function parse<T>(
  socket: string,
  schema: {
    safeParse(
      value: unknown,
    ): { readonly success: true; readonly data: T } | { readonly success: false; readonly error: Error };
  },
  value: unknown,
): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw unreachable(socket, 'it sent something else than was asked', parsed.error);
}

function parseJson(socket: string, payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8'));
  } catch (cause) {
    throw unreachable(socket, 'what it sent is no JSON', cause);
  }
}

function aborted(signal: AbortSignal | undefined): ToolError {
  return new ToolError('the TPM broker was not waited for', {
    code: 'aborted',
    tool: 'tpm-broker',
    cause: signal?.reason,
  });
}

/** The advice for the operator; the agent tries again meanwhile. */
function unreachable(socket: string, why: string, cause?: unknown): AgentError {
  const what =
    why === 'EACCES'
      ? `this user may not open the socket of the TPM broker ${socket}: take it into the group of that socket (ls -l ${socket}), and start this program again`
      : `the TPM broker does not answer at ${socket} (${why}): systemctl status assay-tpm-broker`;
  return new AgentError('tpm_broker', what, { retryable: true, cause });
}
