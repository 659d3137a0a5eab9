import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import { after, before, describe, it } from 'mocha';
import type { WebSocket } from 'ws';
import { type Channel, type FrameTaker, openChannel } from '../../agent/channel.ts';
import { limits } from '../../attest-server/wire/limits.ts';
import type { ServerMessage } from '../../attest-server/wire/messages.ts';
import { type MadeAuthority, makeAuthority } from './made-authority.ts';
import { startTinyServer } from './tiny-server.ts';

const verdict = JSON.stringify({ type: 'verdict', state: 'trusted', codes: [] });

describe('the channel', () => {
  let authority: MadeAuthority;
  let tls: { readonly key: string; readonly cert: string };
  before(async () => {
    authority = await makeAuthority();
    tls = await authority.issue();
  });
  after(() => authority[Symbol.asyncDispose]());

  interface More {
    readonly signal?: AbortSignal;
    readonly pingEveryMs?: number;
    readonly openWithinMs?: number;
    readonly takes?: ReadonlyMap<number, FrameTaker>;
  }
  const open = (port: number, more: More = {}) =>
    openChannel({
      server: { host: '127.0.0.1', port },
      authority: authority.ca,
      takes: new Map(),
      signal: new AbortController().signal,
      ...more,
    });

  it("carries the value that both ends' TLS exports", async () => {
    const theirs: Buffer[] = [];
    await using server = await startTinyServer(tls, (_, binding) => theirs.push(binding));
    const channel = await open(server.port);
    assert.deepEqual([channel.binding], theirs);
    channel.close();
    assert.equal((await channel.closed).code, 'closed');
  });

  it('hands over what the server says', async () => {
    await using server = await startTinyServer(tls, (socket) => {
      socket.once('message', () => socket.send(verdict));
    });
    const channel = await open(server.port);
    const message = await new Promise<ServerMessage>((resolve) => {
      channel.listen(resolve);
      channel.send('hello');
    });
    assert.equal(message.type, 'verdict');
    channel.close();
    await channel.closed;
  });

  it('takes each frame of an answer once the one before has left, and waits no longer than the connection lasts', async () => {
    const paused = Promise.withResolvers<WebSocket>();
    await using server = await startTinyServer(tls, (socket) => {
      socket.pause();
      paused.resolve(socket);
    });
    const channel = await open(server.port);
    const peer = await paused.promise;
    let taken = 0;
    function* frames() {
      for (; taken < 64; taken++) yield Buffer.alloc(limits.ima.piece);
    }
    const sent = channel.sendInTurn(frames());
    // What the two sockets take by themselves is some MiB.
    let before = -1;
    while (taken !== before) {
      before = taken;
      await sleep(200);
    }
    assert(taken < 32, `${taken} frames were taken, and none of them was read`);
    peer.terminate();
    await channel.closed;
    await sent;
  });

  for (const [what, code, speak] of [
    ['a text that is no message', 'malformed', (socket: WebSocket) => socket.send('{}')],
    ['a binary frame', 'malformed', (socket: WebSocket) => socket.send(Buffer.from(verdict))],
    [
      'a message that is too large',
      'too_large',
      (socket: WebSocket) => socket.send('x'.repeat(limits.textFrame + 1)),
    ],
  ] as const)
    it(`ends the connection at ${what}`, async () => {
      await using server = await startTinyServer(tls, (socket) => {
        socket.once('message', () => speak(socket));
      });
      const channel = await open(server.port);
      channel.listen(() => assert.fail('nothing should arrive'));
      channel.send('hello');
      assert.equal((await channel.closed).code, code);
    });

  it('does not wait for a server that opens it byte by byte', async () => {
    const server = createTlsServer(tls, (socket) => {
      socket.on('error', () => {});
      socket.write('HTTP/1.1 101 Switching Protocols\r\nx: ');
      const each = setInterval(() => socket.write('x'), 20);
      socket.once('close', () => clearInterval(each));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
    await assert.rejects(open(port, { openWithinMs: 300 }), { code: 'connect_failed', retryable: true });
    server.close();
  });

  describe('with a kind of binary frame that the agent speaks', () => {
    const kind = 0x7f;
    const most = limits.textFrame + 1_000;

    /** What was taken of frames that the server sends after the hello, and why the connection ended. */
    async function taken(...frames: readonly Buffer[]) {
      const payloads: Buffer[] = [];
      const takes = new Map([
        [kind, { most, take: (payload: Buffer) => payloads.push(Buffer.from(payload)) }],
      ]);
      await using server = await startTinyServer(tls, (socket) => {
        socket.once('message', () => {
          for (const frame of frames) socket.send(frame);
          socket.close();
        });
      });
      const channel = await open(server.port, { takes });
      channel.listen(() => assert.fail('no message should arrive'));
      channel.send('hello');
      return { payloads, code: (await channel.closed).code };
    }

    it('hands its bytes over, up to a bound of its own', async () => {
      const whole = Buffer.alloc(most, 1);
      const { payloads, code } = await taken(Buffer.of(kind, 1, 2), Buffer.concat([Buffer.of(kind), whole]));
      assert.deepEqual(payloads, [Buffer.of(1, 2), whole]);
      assert.equal(code, 'closed');
      const beyond = await taken(Buffer.alloc(most + 2, kind));
      assert.deepEqual([beyond.payloads.length, beyond.code], [0, 'too_large']);
    });

    it('ends the connection at any other kind, and at an empty frame', async () => {
      for (const frame of [Buffer.of(kind + 1, 1), Buffer.of(0x03), Buffer.alloc(0)])
        assert.deepEqual(await taken(frame), { payloads: [], code: 'malformed' });
    });
  });

  it('ends the connection at a message before the hello', async () => {
    await using server = await startTinyServer(tls, (socket) => socket.send(verdict));
    assert.equal((await (await open(server.port)).closed).code, 'malformed');
  });

  it('drops a connection that has fallen silent', async () => {
    await using server = await startTinyServer(tls, (socket) => socket.pause());
    assert.equal((await (await open(server.port, { pingEveryMs: 10 })).closed).code, 'silent');
  });

  it('keeps a connection that answers pings', async () => {
    // Longer than the three pings after which one that answers none is dropped.
    await using server = await startTinyServer(tls, (socket) => {
      setTimeout(() => socket.close(1000), 800);
    });
    assert.equal((await (await open(server.port, { pingEveryMs: 200 })).closed).code, 'closed');
  });

  it('is not opened over TLS 1.2', async () => {
    await using server = await startTinyServer({ ...tls, maxVersion: 'TLSv1.2' }, () => {});
    await assert.rejects(open(server.port), { code: 'connect_failed' });
  });

  it('is not opened to a server of another authority', async () => {
    await using other = await makeAuthority();
    await using server = await startTinyServer(await other.issue(), () => {});
    await assert.rejects(open(server.port), { code: 'connect_failed' });
  });

  it('is not opened to a server with a certificate for another host', async () => {
    const elsewhere = await authority.issue({ names: 'DNS:other.example' });
    await using server = await startTinyServer(elsewhere, () => {});
    await assert.rejects(open(server.port), { code: 'connect_failed' });
  });

  it('ends with the signal, before and after it is open', async () => {
    const early = new AbortController();
    const mute = createServer(() => {}).listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const address = mute.address();
    assert(address !== null && typeof address === 'object');
    const opening = open(address.port, { signal: early.signal });
    early.abort();
    await assert.rejects(opening, { code: 'connect_failed' });
    mute.close();

    const late = new AbortController();
    await using server = await startTinyServer(tls, () => {});
    const channel: Channel = await open(server.port, { signal: late.signal });
    late.abort();
    assert.equal((await channel.closed).code, 'closed');
  });
});
