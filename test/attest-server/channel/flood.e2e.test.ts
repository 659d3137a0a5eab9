import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { deflateRawSync } from 'node:zlib';
import { after, before, beforeEach, describe, it } from 'mocha';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
import { assertTold, dial, enrolledNode, introduce } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { type HonestAgent, honestAgent } from '../honest-agent.ts';
import { closeStatus, frameHead, rawTcp, rawTls, rawWebSocket, untilClosed } from '../raw-peer.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const node = 'node-1';
/** How often the honest agent is asked, and how many answers it is to give from the begin of an attack of one or many. */
const everyMs = 100;
const watched = { one: 11, many: 21 };
/** Made before the first attack: it takes longer than the time for a hello, and meanwhile nobody here answers. */
const bomb = deflateRawSync(Buffer.alloc(64 * 1024 * 1024));
let machines = 1;
/** A machine of the attacker: the audit log holds one refusal of a kind and address in ten seconds. */
const newAddress = () => `127.0.0.${++machines}`;

describe('floods and slow peers, beside an honest agent', () => {
  let world: TestServer;
  let honest: HonestAgent;
  const tpm: ForgedTpm = forgedTpm();
  before(async () => {
    world = await startTestServer({
      policy: 'observe',
      challengeEvery: everyMs / 1000,
      answerWithin: 10,
      helloWithin: 1,
      sources: { connections: 256, connectionsPerSecond: 64 },
    });
    await enrolledNode(world, tpm, node);
    honest = await honestAgent(world, tpm, node);
  });
  after(async () => {
    await honest?.peer.close();
    await world?.[Symbol.asyncDispose]();
  });

  let already = 0;
  beforeEach(() => {
    already = honest.states.length;
  });

  const refusals = (code: ReasonCode) => world.metric(`assay_refusals_total{code="${code}"}`);
  const assertCounted = (code: ReasonCode, from: string, times: number, attack: () => Promise<unknown>) =>
    assertTold(world, { code, from, times, beside: node }, attack);

  /**
   * The honest agent keeps its connection, is asked on and on, and is trusted by each answer. How many answers a second it
   * gives beside an attack is measured where nothing else runs: `npm run bench -- siege --only flood`, as in `.ci/run`.
   */
  async function goesOn(beside: keyof typeof watched): Promise<void> {
    const ended = honest.ended.then(() => assert.fail('the honest agent was turned away'));
    const enough = already + watched[beside];
    await Promise.race([world.until(() => honest.states.length >= enough), ended]);
    assert(honest.states.every((state) => state === 'trusted'));
    assert.equal((await world.status(node))?.state, 'trusted');
  }

  it('refuses a frame of 100 MB by its head, before it is there (row 69)', async () => {
    const from = newAddress();
    await assertCounted('too_large', from, 1, async () => {
      const { socket } = await rawWebSocket(world, from);
      socket.write(frameHead(0x2, 100 * 1024 * 1024));
      assert.equal(closeStatus(await untilClosed(socket)), 1009);
    });
    await goesOn('one');
  });

  it('takes no boot log from whoever has not said who he is (row 69)', async () => {
    const [from, other] = [newAddress(), newAddress()];
    await assertCounted('too_large', from, 1, async () => {
      const peer = await dial(world, { from });
      peer.send(binaryFrame('part', Buffer.alloc(512 * 1024)));
      assert.equal(await peer.refusal(), 'too_large');
    });
    await assertCounted('too_large', other, 1, async () => {
      const copy = await introduce(world, tpm, node, { from: other });
      await copy.challenge();
      const log = binaryFrame('part', Buffer.alloc(1024 * 1024));
      for (let times = 0; times < 6; times++) copy.send(log);
      assert.equal(await copy.refusal(), 'too_large');
    });
    await goesOn('one');
  });

  it('ends a connection that floods it with frames, proven or not (row 69)', async () => {
    const [from, another] = [newAddress(), newAddress()];
    await assertCounted('too_large', from, 1, async () => {
      const { socket } = await rawWebSocket(world, from);
      for (let sent = 0; sent < 10; sent++)
        socket.write(Buffer.concat(Array.from({ length: 100 }, () => frameHead(0x9, 0))));
      await untilClosed(socket);
    });
    const [other, proven] = [forgedTpm(), 'node-2'];
    await enrolledNode(world, other, proven);
    const expected = { code: 'too_large', from: another, times: 1, beside: proven } as const;
    await assertTold(world, expected, async () => {
      const peer = await honestAgent(world, other, proven, another);
      await world.until(() => peer.states.length > 0);
      for (let sent = 0; sent < 1_000; sent++) peer.peer.send({ type: 'changed', what: 'flood' });
      await peer.ended;
    });
    await goesOn('many');
  });

  it('takes no message in a thousand parts (row 69)', async () => {
    const from = newAddress();
    await assertCounted('malformed', from, 1, async () => {
      const { socket } = await rawWebSocket(world, from);
      const parts = Array.from({ length: 1_000 }, () => frameHead(0x0, 0, 0));
      socket.write(Buffer.concat([frameHead(0x1, 0, 0), ...parts]));
      await untilClosed(socket);
    });
    await goesOn('one');
  });

  it('drops 600 half-open connections of one source, and takes an honest one, from there too (row 69)', async () => {
    const [before, elsewhere] = [await refusals('identity_unproven'), newAddress()];
    const all = await Promise.all(
      Array.from({ length: 600 }, (_, index) =>
        index % 2 ? rawTcp(world, elsewhere) : rawTls(world, elsewhere),
      ).map((opened) => opened.catch(() => null)),
    );
    const sockets = all.filter((socket) => socket !== null);
    for (const from of [elsewhere, '127.0.0.1']) {
      const [name, young] = [`young-${from.at(-1)}`, forgedTpm()];
      await world.pin(name, young.ekDigest);
      const agent = await world.until(() => honestAgent(world, young, name, from).catch(() => null));
      await world.until(() => agent.states.length > 0);
      await agent.peer.close();
    }
    await goesOn('many');
    await Promise.all(sockets.map((socket) => untilClosed(socket)));
    // Most were refused before TLS, with a count and without a word; the others had a deadline.
    const turnedAway = (bound: string) =>
      world.metric(`assay_door_refusals_total{port="agents",bound="${bound}"}`);
    const [rate, inAll, late] = await Promise.all(['rate', 'rate_in_all', 'deadline'].map(turnedAway));
    assert((rate ?? 0) + (inAll ?? 0) >= 300, `${rate} ${inAll}`);
    assert((late ?? 0) >= 50, String(late));
    assert((await refusals('identity_unproven')) >= before + 50);
    const told = (await world.audit()).filter(({ actor }) => actor === `address:${elsewhere}`);
    assert(told.length >= 1 && told.length <= 3, String(told.length));
    assert(told.every(({ action, code }) => action === 'refuse' && code === 'identity_unproven'));
  });

  it('drops a request that trickles in, at the deadline of the whole (row 69)', async () => {
    const from = newAddress();
    await assertCounted('identity_unproven', from, 1, async () => {
      const socket = await rawTls(world, from);
      const started = performance.now();
      let trickled = 0;
      const trickle = setInterval(() => socket.write('a', () => trickled++), 50);
      socket.write('GET /v1/attest HTTP/1.1\r\nx: ');
      // Though bytes come all the time.
      await untilClosed(socket);
      clearInterval(trickle);
      const took = performance.now() - started;
      assert(took > 500 && trickled > 0, `${took} ms, ${trickled} bytes`);
    });
    await goesOn('one');
  });

  it('inflates nothing: a compressed frame is malformed, whatever the peer offered (row 73)', async () => {
    const from = newAddress();
    await assertCounted('malformed', from, 1, async () => {
      const { socket, answer } = await rawWebSocket(world, from, 'permessage-deflate');
      assert.match(answer, /^HTTP\/1.1 101 /);
      assert.doesNotMatch(answer, /sec-websocket-extensions/i);
      socket.write(Buffer.concat([frameHead(0x2, bomb.length, 0xc0), bomb.subarray(0, 32 * 1024)]));
      assert.equal(closeStatus(await untilClosed(socket)), 1002);
    });
    await goesOn('one');
  });

  it('is not slowed by silent connections and agents of a byte a tick, and drops them in time (row 76)', async () => {
    const from = newAddress();
    await assertCounted('identity_unproven', from, 30, async () => {
      const silent = await Promise.all(Array.from({ length: 20 }, () => dial(world, { from })));
      const slow = await Promise.all(
        Array.from({ length: 10 }, async () => {
          const { socket } = await rawWebSocket(world, from);
          const hello = Buffer.from(JSON.stringify(tpm.hello(node)));
          const bytes = Buffer.concat([frameHead(0x1, hello.length), hello]);
          let at = 0;
          const tick = setInterval(() => socket.write(bytes.subarray(at, ++at)), 20);
          return { socket, tick };
        }),
      );
      await goesOn('many');
      await Promise.all([
        ...silent.map((peer) => peer.refusal()),
        ...slow.map(({ socket }) => untilClosed(socket)),
      ]);
      for (const { tick } of slow) clearInterval(tick);
    });
    await goesOn('many');
  });

  it('does not wait for a refused peer that reads nothing', async () => {
    const { socket } = await rawWebSocket(world, newAddress());
    socket.pause();
    socket.write(frameHead(0x1, 2));
    socket.write('{}');
    // The refusal and the goodbye wait unread; the socket is ended all the same.
    await sleep(1_500);
    socket.resume();
    await untilClosed(socket);
    await goesOn('one');
  });
});
