import { once } from 'node:events';
import {
  createServer as createHttp,
  type IncomingMessage,
  type RequestListener,
  type Server,
} from 'node:http';
import { createServer as createHttps } from 'node:https';
import { type EventMessage, eventMessage } from '../../../attest-server/formats/event.ts';

export interface Received {
  readonly headers: IncomingMessage['headers'];
  readonly path: string;
  readonly body: string;
  readonly message: EventMessage;
}

export type Answer =
  | number
  | { readonly status: number; readonly headers: Record<string, string> }
  | 'hang'
  | 'garbage'
  | 'reset'
  | 'endless';

/** A receiver of webhooks over a real socket: it checks the shape of what comes, and answers as the test says. */
export class Receiver implements AsyncDisposable {
  readonly received: Received[] = [];
  readonly #server: Server;
  #answer: (received: Received) => Answer = () => 204;
  #waiting: (() => void)[] = [];

  private constructor(server: (listener: RequestListener) => Server) {
    this.#server = server((message, response) => {
      void this.#take(message).then((received) => {
        const answer = this.#answer(received);
        if (typeof answer === 'number') response.writeHead(answer).end();
        else if (answer === 'garbage') response.socket?.end('SMTP ready\r\n\r\n');
        else if (answer === 'reset') response.socket?.resetAndDestroy();
        else if (answer === 'endless') {
          response.writeHead(200);
          const chunk = Buffer.alloc(64 * 1024, 'x');
          const more = () => {
            while (response.writable && response.write(chunk));
          };
          response.on('drain', more).on('error', () => {});
          more();
        } else if (answer !== 'hang') response.writeHead(answer.status, answer.headers).end();
      });
    });
  }

  static async open(tls: { readonly key: string; readonly cert: string } | null = null): Promise<Receiver> {
    const receiver = new Receiver((listener) =>
      tls === null ? createHttp(listener) : createHttps(tls, listener),
    );
    receiver.#server.listen(0, '127.0.0.1');
    await once(receiver.#server, 'listening');
    return receiver;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the receiver does not listen');
    return address.port;
  }

  answers(how: Answer | ((received: Received) => Answer)): void {
    this.#answer = typeof how === 'function' ? how : () => how;
  }

  get ids(): readonly string[] {
    return this.received.map(({ message }) => message.id);
  }

  /** Resolves once so many attempts came. */
  async until(count: number): Promise<void> {
    while (this.received.length < count)
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #take(message: IncomingMessage): Promise<Received> {
    const chunks: Buffer[] = [];
    for await (const chunk of message) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    const received: Received = {
      headers: message.headers,
      path: message.url ?? '',
      body,
      message: eventMessage.strict().parse(JSON.parse(body)),
    };
    this.received.push(received);
    for (const told of this.#waiting.splice(0)) told();
    return received;
  }
}
