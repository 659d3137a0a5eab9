import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { after, afterEach, before, describe, it } from 'mocha';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { createClient, NoAnswer } from '../../../attest-server/cli/client.ts';
import type { ServerIdentity } from '../../../attest-server/tls/identity.ts';
import { identityIn } from '../tls/made-identity.ts';

const withinMs = 400;

describe('a server that hangs', () => {
  let dir = '';
  let identity: ServerIdentity;
  let server: Server | null = null;
  const sockets = new Set<Socket>();
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'assay-hanging-'));
    identity = await identityIn(dir, ['localhost'], Date.now());
  });
  after(() => rmSync(dir, { recursive: true }));
  afterEach(() => {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    server?.close();
  });

  const begin = 'HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{';
  const trickle = (socket: Socket, bytes: string) => {
    const each = setInterval(() => socket.write(bytes), 20);
    socket.once('close', () => clearInterval(each));
  };
  for (const [what, isTls, serve] of [
    ['takes the connection and says nothing', false, () => {}],

    ['never answers', true, () => {}],
    [
      'sends its headers byte by byte',
      true,
      (socket: Socket) => {
        socket.write('HTTP/1.1 200 OK\r\nx: ');
        trickle(socket, 'x');
      },
    ],
    [
      'sends its answer byte by byte',
      true,
      (socket: Socket) => {
        socket.write(begin);
        trickle(socket, ' ');
      },
    ],
  ] as const)
    it(`is given up after the whole time, also one that ${what}`, async () => {
      const took = (socket: Socket) => {
        sockets.add(socket);
        socket.on('error', () => {});
        serve(socket);
      };
      server = isTls
        ? createTlsServer({ cert: identity.chain, key: identity.key }, took)
        : createServer(took);
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const address = server.address();
      const port = typeof address === 'object' ? address?.port : 0;
      const client = await createClient(
        {
          server: new URL(`https://localhost:${port}`),
          token: 'token',
          tokenFile: 'a.token',
          ca: readFileSync(identity.caFile, 'utf8'),
          caFile: identity.caFile,
          startedBy: null,
        },
        withinMs,
      );
      const began = performance.now();
      const error: unknown = await client.get('/v1/nodes/node-1', nodeView).catch((caught) => caught);
      assert(error instanceof NoAnswer, String(error));
      assert.match(error.message, /^localhost:\d+ gave no whole answer within 0\.4 s$/);
      assert.ok(performance.now() - began >= withinMs - 1);
    });
});
