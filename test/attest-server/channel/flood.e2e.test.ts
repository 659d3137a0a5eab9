import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { deflateRawSync } from 'node:zlib';
import { after, before, describe, it } from 'mocha';
import { bounds } from '../../../attest-server/channel/bounds.ts';
import { binaryFrame } from '../../../attest-server/protocol/messages.ts';
import type { ReasonCode } from '../../../attest-server/protocol/reasons.ts';
import { dial, enrolledNode, introduce } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { type HonestAgent, honestAgent } from '../honest-agent.ts';
import { closeStatus, frameHead, rawTcp, rawTls, rawWebSocket, untilClosed } from '../raw-peer.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const node = 'node-1';
/** A machine of the attacker. */
const elsewhere = '127.0.0.2';

describe('floods and slow peers, beside an honest agent', () => {
  let world: TestServer;
  let honest: HonestAgent;
  const tpm: ForgedTpm = forgedTpm();
  before(async () => {
    world = await startTestServer({
      policy: 'observe',
      challengeEvery: 0.05,
      answerWithin: 1,
      helloWithin: 1,
    });
    await enrolledNode(world, tpm, node);
    honest = await honestAgent(world, tpm, node);
  });
  after(async () => {
    await honest?.peer.close();
    await world?.[Symbol.asyncDispose]();
  });

  const refusals = (code: ReasonCode) => world.metric(`assay_refusals_total{code="${code}"}`);

  /** The honest agent goes on being judged, on the connection that it had. */
  async function goesOn(): Promise<void> {
    const already = honest.states.length;
    await world.until(() => honest.states.length >= already + 5, 2_000);
    assert(honest.states.every((state) => state === 'trusted'));
    assert.equal((await world.status(node))?.state, 'trusted');
  }

  it('refuses a frame of 100 MB by its head, before it is there (row 69)', async () => {
    const before = await refusals('too_large');
    const { socket } = await rawWebSocket(world, elsewhere);
    socket.write(frameHead(0x2, 100 * 1024 * 1024));
    assert.equal(closeStatus(await untilClosed(socket)), 1009);
    assert.equal(await refusals('too_large'), before + 1);
    await world.until(async () => (await world.audit()).find(({ code }) => code === 'too_large'));
    await goesOn();
  });

  it('takes no boot log from whoever has not said who he is (row 69)', async () => {
    const before = await refusals('too_large');
    const peer = await dial(world, { from: elsewhere });
    peer.send(binaryFrame('bootLog', Buffer.alloc(512 * 1024)));
    assert.equal(await peer.refusal(), 'too_large');
    assert.equal(await refusals('too_large'), before + 1);
    const copy = await introduce(world, tpm, node, { from: elsewhere });
    await copy.challenge();
    const log = binaryFrame('bootLog', Buffer.alloc(1024 * 1024));
    for (let times = 0; times < 3; times++) copy.send(log);
    assert.equal(await copy.refusal(), 'too_large');
    await goesOn();
  });

  it('ends a connection that floods it with frames, proven or not (row 69)', async () => {
    const before = await refusals('too_large');
    const { socket } = await rawWebSocket(world, elsewhere);
    for (let sent = 0; sent < 10; sent++)
      socket.write(Buffer.concat(Array.from({ length: 100 }, () => frameHead(0x9, 0))));
    await untilClosed(socket);
    const [other, proven] = [forgedTpm(), 'node-2'];
    await enrolledNode(world, other, proven);
    const state = (await world.status(proven))?.state;
    const peer = await honestAgent(world, other, proven, elsewhere);
    await world.until(() => peer.states.length > 0);
    for (let sent = 0; sent < 1_000; sent++) peer.peer.send({ type: 'changed', what: 'flood' });
    await peer.ended;
    assert.equal(await refusals('too_large'), before + 2);
    assert.equal((await world.status(proven))?.state, state);
    await goesOn();
  });

  it('takes no message in a thousand parts (row 69)', async () => {
    const before = await refusals('malformed');
    const { socket } = await rawWebSocket(world, elsewhere);
    const parts = Array.from({ length: 1_000 }, () => frameHead(0x0, 0, 0));
    socket.write(Buffer.concat([frameHead(0x1, 0, 0), ...parts]));
    await untilClosed(socket);
    assert.equal(await refusals('malformed'), before + 1);
  });

  it('drops 600 half-open connections of one source, the oldest first, and takes an honest one (row 69)', async () => {
    const before = await refusals('identity_unproven');
    const all = await Promise.all(
      Array.from({ length: 600 }, (_, index) =>
        index % 2 ? rawTcp(world, elsewhere) : rawTls(world, elsewhere).catch(() => null),
      ),
    );
    const sockets = all.filter((socket) => socket !== null);
    // Even from that very source, and from another one.
    for (const from of [elsewhere, '127.0.0.1']) {
      const [name, young] = [`young-${from.at(-1)}`, forgedTpm()];
      await world.pin(name, young.ekDigest);
      const agent = await honestAgent(world, young, name, from);
      await world.until(() => agent.states.length > 0);
      await agent.peer.close();
    }
    await goesOn();
    await Promise.all(sockets.map((socket) => untilClosed(socket)));
    assert(600 > bounds.halfOpen.perSource);
    assert(await world.until(async () => (await refusals('identity_unproven')) >= before + 500));
  });

  it('drops a request that trickles in, at the deadline of the whole (row 69)', async () => {
    const socket = await rawTls(world, elsewhere);
    const started = performance.now();
    const trickle = setInterval(() => socket.write('a'), 50);
    socket.write('GET /v1/attest HTTP/1.1\r\nx: ');
    await untilClosed(socket);
    clearInterval(trickle);
    const took = performance.now() - started;
    assert(took > 500 && took < 1_600, String(took));
  });

  it('inflates nothing: a compressed frame is malformed, whatever the peer offered (row 73)', async () => {
    const before = await refusals('malformed');
    const { socket, answer } = await rawWebSocket(world, elsewhere, 'permessage-deflate');
    assert.match(answer, /^HTTP\/1.1 101 /);
    assert.doesNotMatch(answer, /sec-websocket-extensions/i);
    const bomb = deflateRawSync(Buffer.alloc(64 * 1024 * 1024));
    socket.write(Buffer.concat([frameHead(0x2, bomb.length, 0xc0), bomb.subarray(0, 32 * 1024)]));
    assert.equal(closeStatus(await untilClosed(socket)), 1002);
    assert.equal(await refusals('malformed'), before + 1);
    await goesOn();
  });

  it('is not slowed by silent connections and agents of a byte a tick, and drops them in time (row 76)', async () => {
    const before = await refusals('identity_unproven');
    const silent = await Promise.all(Array.from({ length: 20 }, () => dial(world, { from: '127.0.0.3' })));
    const slow = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const { socket } = await rawWebSocket(world, '127.0.0.3');
        const hello = Buffer.from(JSON.stringify(tpm.hello(node)));
        const bytes = Buffer.concat([frameHead(0x1, hello.length), hello]);
        let at = 0;
        const tick = setInterval(() => socket.write(bytes.subarray(at, ++at)), 20);
        return { socket, tick };
      }),
    );
    await goesOn();
    await Promise.all([
      ...silent.map((peer) => peer.refusal()),
      ...slow.map(({ socket }) => untilClosed(socket)),
    ]);
    for (const { tick } of slow) clearInterval(tick);
    assert.equal(await refusals('identity_unproven'), before + 30);
    await goesOn();
  });

  it('does not wait for a refused peer that reads nothing', async () => {
    const { socket } = await rawWebSocket(world, elsewhere);
    socket.pause();
    socket.write(frameHead(0x1, 2));
    socket.write('{}');
    // The refusal and the goodbye wait unread; the socket is ended all the same.
    await sleep(1_500);
    socket.resume();
    await untilClosed(socket);
    await goesOn();
  });
});
