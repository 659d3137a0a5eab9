import type { ClientRequest, IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { type EventMessage, eventMessage } from '../../../attest-server/formats/event.ts';

/** Where a server of a test is, and the token of who listens. */
export interface ListenerAt {
  readonly port: number;
  readonly ca: string;
  readonly token: string;
}

/** Who reads `GET /v1/events`, block by block as the HTML standard has them, and nothing that it does not say. */
export class EventListener implements Disposable {
  /** Blocks but comments alone, in the order in which they came. */
  readonly blocks: ReadonlyMap<string, string>[] = [];
  comments = 0;
  status = 0;
  text = '';
  headers: IncomingMessage['headers'] = {};
  isOver = false;
  /** Called with each block but comments alone. */
  got: (block: ReadonlyMap<string, string>) => void = () => {};
  readonly #request: ClientRequest;
  #response: IncomingMessage | null = null;
  #isPaused = false;

  constructor(
    { port, ca, token }: ListenerAt,
    path = '/v1/events',
    headers: Readonly<Record<string, string>> = {},
  ) {
    this.#request = request(
      {
        ...{ host: '127.0.0.1', port, path, ca, agent: false },
        headers: { authorization: `Bearer ${token}`, ...headers },
      },
      (response) => this.#read(response),
    );
    this.#request.on('error', () => {
      this.isOver = true;
    });
    this.#request.end();
  }

  get messages(): readonly EventMessage[] {
    return this.blocks.flatMap((block) => {
      const data = block.get('data');
      return data === undefined ? [] : [eventMessage.strict().parse(JSON.parse(data))];
    });
  }

  get lastId(): string | null {
    return this.blocks.findLast((block) => block.has('id'))?.get('id') ?? null;
  }

  /** Takes nothing, from its first byte on, until it resumes. */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#response?.resume();
  }

  [Symbol.dispose](): void {
    this.#request.destroy();
  }

  #read(response: IncomingMessage): void {
    this.#response = response;
    this.status = response.statusCode ?? 0;
    this.headers = response.headers;
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => this.#take(chunk));
    response.on('close', () => {
      this.isOver = true;
    });
    response.on('error', () => {});
    if (this.#isPaused) response.pause();
  }

  #take(chunk: string): void {
    this.text += chunk;
    if (this.status !== 200) return;
    for (let end = this.text.indexOf('\n\n'); end >= 0; end = this.text.indexOf('\n\n')) {
      const lines = this.text.slice(0, end).split('\n');
      this.text = this.text.slice(end + 2);
      const fields = lines.filter((line) => !line.startsWith(':'));
      this.comments += lines.length - fields.length;
      const split = fields.map((line): [string, string] => {
        const [name = '', ...rest] = line.split(': ');
        return [name, rest.join(': ')];
      });
      if (split.length === 0) continue;
      const block = new Map(split);
      this.blocks.push(block);
      this.got(block);
    }
  }
}
