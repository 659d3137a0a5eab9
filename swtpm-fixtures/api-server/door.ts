import { once } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { lastingPort } from '../lasting-port.ts';
import { type Answer, answerOf } from './api.ts';
import type { ApiRequest } from './api-request.ts';
import type { ServingCertificate } from './certificate.ts';
import { ApiError, PlainError, unauthorized } from './status.ts';
import type { User } from './users.ts';
import type { Watch } from './watch.ts';

export interface DoorParts {
  readonly certificate: ServingCertificate;
  /**
   * Null: nobody is known by this token; an empty one is that of anybody.
   * @throws ApiError where somebody may not act for another, PlainError where it is not said for whom
   */
  readonly authenticate: (token: string, headers: IncomingHttpHeaders) => User | null;
  readonly handle: (request: ApiRequest) => Promise<Answer>;
  /** What its clock shows. Milliseconds since the epoch. */
  readonly now: () => number;
  /** Milliseconds between bookmarks of a watch. */
  readonly bookmarkEvery: number;
  readonly unauthorized: () => void;
}

const mostBodyBytes = 3 * 1024 * 1024;
const mostHeaderBytes = 1024 * 1024;
/** A watch whose reader is so far behind is ended. */
const mostUnreadBytes = 64 * 1024 * 1024;

interface RunningWatch {
  readonly resource: string;
  /** Its connection has nothing to send any more. */
  readonly closed: Promise<unknown>;
  end(line?: string): void;
  destroy(): void;
}

/** HTTPS on a port of this machine, which stays the same when it is closed and opened again. */
export class Door implements AsyncDisposable {
  readonly #parts: DoorParts;
  readonly #watches = new Set<RunningWatch>();
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  /** Of a server that ends: its last connection is gone. */
  #closed: Promise<unknown> = Promise.resolve();
  #port = 0;

  constructor(parts: DoorParts) {
    this.#parts = parts;
  }

  get port(): number {
    return this.#port;
  }

  get watches(): number {
    return this.#watches.size;
  }

  async open(): Promise<void> {
    if (this.#server !== null) return;
    await this.#closed;
    const { certificate, key } = this.#parts.certificate;
    const options = { cert: certificate, key, keepAliveTimeout: 60_000, maxHeaderSize: mostHeaderBytes };
    const server = createServer(options, (request, response) => {
      this.#serve(request, response).catch(() => response.destroy());
    });
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    server.on('tlsClientError', (_, socket) => socket.destroy());
    if (this.#port === 0) this.#port = await lastingPort();
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#server = server;
  }

  /**
   * All connections end.
   * @param grace milliseconds for which watches go on, while nobody new is let in; they end in order. 0: they break
   */
  async close(grace = 0): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server !== null) {
      this.#closed = once(server, 'close');
      server.close();
      if (grace > 0) {
        await Promise.race([this.#closed, delay(grace, undefined, { ref: false })]);
        const ended = [...this.#watches].map(({ closed }) => closed);
        this.endWatches('end');
        await Promise.all(ended);
      }
    }
    for (const watch of this.#watches) watch.destroy();
    for (const socket of this.#sockets) socket.destroy();
    await this.#closed;
  }

  /** @param how `end`: in order; `destroy`: the connection breaks; a line is sent before the end */
  endWatches(how: 'end' | 'destroy' | { readonly line: string }, resource?: string): void {
    for (const watch of this.#watches) {
      if (resource !== undefined && watch.resource !== resource) continue;
      if (how === 'destroy') watch.destroy();
      else watch.end(how === 'end' ? undefined : how.line);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.sendDate = false;
    response.setHeader('Date', new Date(this.#parts.now()).toUTCString());
    response.setHeader('Cache-Control', 'no-cache, private');
    if (this.#server === null) response.setHeader('Connection', 'close');
    const body = await readBody(request);
    if (body === null) {
      const text = `Request entity too large: limit is ${mostBodyBytes}`;
      response.setHeader('Connection', 'close');
      sendError(response, new ApiError(413, 'RequestEntityTooLarge', text));
      return;
    }
    const { method = 'GET', url = '/', headers } = request;
    const token = /^Bearer (\S+)/i.exec(headers.authorization ?? '')?.[1] ?? '';
    const user = this.#userOf(token, headers);
    if (user instanceof Error) {
      sendError(response, user);
      return;
    }
    if (user === null) {
      this.#parts.unauthorized();
      sendError(response, unauthorized());
      return;
    }
    const answer = await this.#parts.handle({
      ...{ user, method, body, target: url },
      contentType: headers['content-type'] ?? '',
      accept: headers.accept ?? '',
      userAgent: headers['user-agent'] ?? '',
    });
    if ('watch' in answer) this.#watch(response, answer.watch, answer.resource);
    else if (!('text' in answer)) request.socket.destroy();
    else send(response, answer, method === 'HEAD');
  }

  #userOf(token: string, headers: IncomingHttpHeaders): User | Error | null {
    try {
      return this.#parts.authenticate(token, headers);
    } catch (error) {
      if (error instanceof ApiError || error instanceof PlainError) return error;
      throw error;
    }
  }

  #watch(response: ServerResponse, watch: Watch, resource: string): void {
    response.writeHead(200, { 'Content-Type': 'application/json' });
    response.flushHeaders();
    const resources = new DisposableStack();
    const running: RunningWatch = {
      resource,
      closed: once(response, 'close'),
      end(line) {
        if (line !== undefined) response.write(line);
        resources.dispose();
        response.end();
      },
      destroy() {
        resources.dispose();
        response.destroy();
      },
    };
    this.#watches.add(running);
    resources.defer(() => this.#watches.delete(running));
    const timer = setTimeout(() => running.end(), watch.timeout).unref();
    resources.defer(() => clearTimeout(timer));
    if (watch.wantsBookmarks) {
      const bookmarks = setInterval(
        () => response.write(watch.bookmark()),
        this.#parts.bookmarkEvery,
      ).unref();
      resources.defer(() => clearInterval(bookmarks));
    }
    response.once('close', () => running.destroy());
    const send = (line: string): void => {
      response.write(line);
      if (response.writableLength > mostUnreadBytes) running.destroy();
    };
    const changes = watch.start(send, () => queueMicrotask(() => running.end()));
    if (resources.disposed) changes[Symbol.dispose]();
    else resources.use(changes);
  }
}

/** Null: it is too long. */
async function readBody(request: IncomingMessage): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > mostBodyBytes) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function send(response: ServerResponse, answer: Extract<Answer, { text: string }>, isHead: boolean): void {
  const { code, contentType, text, retryAfter, warnings = [] } = answer;
  const bytes = Buffer.from(text);
  response.writeHead(code, {
    'Content-Type': contentType,
    'Content-Length': bytes.length,
    ...(warnings.length > 0 && { Warning: warnings.map((warning) => `299 - ${JSON.stringify(warning)}`) }),
    ...(retryAfter !== undefined && { 'Retry-After': String(retryAfter) }),
  });
  response.end(isHead ? undefined : bytes);
}

function sendError(response: ServerResponse, error: Error): void {
  send(response, answerOf(error), false);
}
