import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { WebSocket } from 'ws';
import { channelBindingBytes, channelBindingLabel } from '../attest-server/wire/binding.ts';
import { dateFault, dateFaults } from '../attest-server/wire/certificate-dates.ts';
import type { LastWords } from '../attest-server/wire/last-words.ts';
import { limits } from '../attest-server/wire/limits.ts';
import {
  attestPath,
  parseServerMessage,
  type ServerMessage,
  subprotocol,
} from '../attest-server/wire/messages.ts';
import { Rejection } from '../attest-server/wire/rejection.ts';
import { AgentError } from './agent-error.ts';
import type { ServerAddress } from './config.ts';
import { connectFault, openedLate } from './connect-fault.ts';
import { readPeerChain } from './server-identity.ts';

export interface ChannelOptions {
  readonly server: ServerAddress;
  /** PEM of the only authorities that count. */
  readonly authority: string;
  readonly signal: AbortSignal;
  /** The binary frames of the server that this agent speaks, by their first byte; others end the connection. */
  readonly takes: ReadonlyMap<number, FrameTaker>;
  /** Called for whatever comes of the server, pongs among it. */
  readonly onHeard?: () => void;
  /** Milliseconds between pings; a connection silent for three of them is dropped. Default 15 s. */
  readonly pingEveryMs?: number;
  /** Milliseconds from the first packet to the WebSocket, whatever the peer sends meanwhile. Default 10 s. */
  readonly openWithinMs?: number;
}

/** Takes the binary frames of one kind. */
export interface FrameTaker {
  /** Bytes after the first one; more ends the connection. */
  readonly most: number;
  /** @throws Rejection, which ends the connection */
  take(payload: Buffer): void;
}

/** Text or binary, as sent. */
export type Frame = string | Buffer;

/** Why a connection is over. */
export interface ChannelEnd {
  /** The code of a message that could not be read, or `silent`, or `closed`. */
  readonly code: string;
  readonly status: number;
  readonly reason: string;
}

/** One WebSocket connection to the server, over TLS 1.3. */
export interface Channel {
  /** The TLS exporter value that stands for this connection, 32 bytes. */
  readonly binding: Buffer;
  /** The server's certificate, after it was verified. */
  readonly peer: X509Certificate;
  /** Settles when the connection is over; never rejects. */
  readonly closed: Promise<ChannelEnd>;
  /** Called once; a message that comes before is out of order and ends the connection. */
  listen(onMessage: (message: ServerMessage) => void): void;
  send(...frames: readonly Frame[]): void;
  /** Takes each once the one before has left, or the connection is over: what waits here is one frame. */
  sendInTurn(frames: Iterable<Frame>): Promise<void>;
  /** @param says to the server, as the last thing on this connection */
  close(status?: number, code?: string, says?: LastWords): void;
}

/** @throws AgentError `connect_failed` (retryable), saying why: unreachable, untrusted, not this protocol */
export function openChannel(options: ChannelOptions): Promise<Channel> {
  const { server, authority, signal } = options;
  const host = server.host.includes(':') ? `[${server.host}]` : server.host;
  const socket = new WebSocket(`wss://${host}:${server.port}${attestPath}`, subprotocol, {
    ca: authority,
    minVersion: 'TLSv1.3',
    perMessageDeflate: false,
    maxPayload: Math.max(limits.textFrame, ...[...options.takes.values()].map(({ most }) => most + 1)),
    followRedirects: false,
  });
  return new Promise((resolve, reject) => {
    let binding: Buffer | undefined;
    let peer: X509Certificate | undefined;
    // The one of `ws` is for a pause: a server that sends a byte now and then would be waited for without end.
    const late = setTimeout(() => fail(new Error(openedLate)), options.openWithinMs ?? 10_000);
    const fail = (cause: unknown) => {
      clearTimeout(late);
      signal.removeEventListener('abort', onAbort);
      socket.terminate();
      saidOf(cause, server, signal).then((said) =>
        reject(
          new AgentError('connect_failed', `${host}:${server.port}: ${said}`, { retryable: true, cause }),
        ),
      );
    };
    const onAbort = () => fail(signal.reason);
    // Stays for good: an error without listener would end the process.
    socket.on('error', fail);
    socket.once('upgrade', (response) => {
      if (!isTls13(response.socket)) return;
      const { socket: secure } = response;
      binding = secure.exportKeyingMaterial(channelBindingBytes, channelBindingLabel, Buffer.alloc(0));
      if (secure.authorized) peer = secure.getPeerX509Certificate();
    });
    socket.once('open', () => {
      clearTimeout(late);
      signal.removeEventListener('abort', onAbort);
      if (binding === undefined || peer === undefined)
        return fail(new Error('the connection is not TLS 1.3 with a verified certificate'));
      resolve(wrap(socket, { binding, peer }, options));
    });
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}

function isTls13(socket: object): socket is TLSSocket {
  return (
    'getProtocol' in socket && typeof socket.getProtocol === 'function' && socket.getProtocol() === 'TLSv1.3'
  );
}

async function saidOf(cause: unknown, server: ServerAddress, signal: AbortSignal): Promise<string> {
  if (!(cause instanceof Error)) return 'aborted';
  if ('code' in cause && dateFaults.has(String(cause.code))) {
    const fault = dateFault(await readPeerChain(server, signal).catch(() => []), Date.now());
    if (fault !== null) return `${fault.text}. ${fault.hint}`;
  }
  return connectFault(cause);
}

/** @throws Rejection */
function takeBinary(frame: Buffer, takes: ChannelOptions['takes']): void {
  const taker = takes.get(frame[0] ?? -1);
  if (taker === undefined)
    throw new Rejection('malformed', 'unknown kind of binary frame', { field: 'kind' });
  if (frame.length > taker.most + 1)
    throw new Rejection('too_large', `a binary frame of ${frame.length} bytes`);
  taker.take(frame.subarray(1));
}

function wrap(
  socket: WebSocket,
  verified: Pick<Channel, 'binding' | 'peer'>,
  options: ChannelOptions,
): Channel {
  const pingEveryMs = options.pingEveryMs ?? 15_000;
  let onMessage: ((message: ServerMessage) => void) | null = null;
  let why = 'closed';
  let heardAt = performance.now();

  const close: Channel['close'] = (status = 1000, code = 'closed', says) => {
    if (why === 'closed') why = code;
    socket.close(status, says);
    setTimeout(() => socket.terminate(), 1_000).unref();
  };
  const heard = () => {
    heardAt = performance.now();
    options.onHeard?.();
  };
  const onAbort = () => close(1001, 'closed', 'stopped');
  const beat = setInterval(() => {
    if (performance.now() - heardAt > 3 * pingEveryMs) {
      why = 'silent';
      socket.terminate();
    } else if (socket.readyState === socket.OPEN) socket.ping();
  }, pingEveryMs);

  const closed = new Promise<ChannelEnd>((resolve) => {
    socket.once('close', (status, reason) => {
      clearInterval(beat);
      options.signal.removeEventListener('abort', onAbort);
      resolve({ code: why, status, reason: reason.toString('utf8') });
    });
  });
  options.signal.addEventListener('abort', onAbort, { once: true });
  if (options.signal.aborted) onAbort();

  socket.on('error', (error) => {
    if (why !== 'closed' || !('code' in error) || typeof error.code !== 'string') return;
    if (error.code.startsWith('WS_ERR'))
      why = error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH' ? 'too_large' : 'malformed';
  });
  socket.on('pong', heard);
  socket.on('ping', heard);
  socket.on('message', (data, isBinary) => {
    heard();
    if (why !== 'closed') return;
    try {
      if (!Buffer.isBuffer(data)) throw new Rejection('malformed', 'a frame in pieces');
      if (onMessage === null) throw new Rejection('malformed', 'a message before the hello');
      if (isBinary) takeBinary(data, options.takes);
      else onMessage(parseServerMessage(data.toString('utf8')));
    } catch (error) {
      if (!(error instanceof Rejection)) throw error;
      close(error.code === 'too_large' ? 1009 : 1008, error.code, 'protocol');
    }
  });
  return {
    ...verified,
    closed,
    listen(handler) {
      onMessage = handler;
    },
    send(...frames) {
      for (const frame of frames) socket.send(frame);
    },
    async sendInTurn(frames) {
      for (const frame of frames) await new Promise<unknown>((sent) => socket.send(frame, sent));
    },
    close,
  };
}
