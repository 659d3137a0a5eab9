import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

export interface Call {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: string;
}

export interface Reply {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export type Replying = Reply | ((call: Call) => Reply);

/** A cloud on the loopback. It answers in order, and with the last answer from then on. */
export interface VendorApi extends AsyncDisposable {
  readonly url: URL;
  /** What it was asked since the last `answers`. */
  readonly calls: readonly Call[];
  answers(...replies: readonly Replying[]): void;
}

export async function openVendorApi(): Promise<VendorApi> {
  const calls: Call[] = [];
  let replies: readonly Replying[] = [];
  const server = createServer((request, response) => {
    text(request).then(
      (body) => {
        const { method = '', url: path = '', headers } = request;
        const call = { method, path, headers, body };
        calls.push(call);
        const reply = replies[calls.length - 1] ?? replies.at(-1) ?? { status: 500 };
        const {
          status = 200,
          headers: sent = {},
          body: answer = '',
        } = typeof reply === 'function' ? reply(call) : reply;
        response.writeHead(status, sent).end(answer);
      },
      () => response.destroy(),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return {
    url: new URL(`http://127.0.0.1:${address.port}/`),
    calls,
    answers(...next) {
      calls.length = 0;
      replies = next;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** A recorded answer, with what stands in it for keys and codes. */
export function recorded(file: string, values: Readonly<Record<string, string>> = {}): string {
  let text = readFileSync(join(import.meta.dirname, '../../../swtpm-fixtures/recorded-clouds', file), 'utf8');
  for (const [name, value] of Object.entries(values))
    text = text.replace(name, () => (file.endsWith('.json') ? JSON.stringify(value).slice(1, -1) : value));
  return text;
}
