import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { after, before, describe, it } from 'mocha';
import { inAll } from '../../../attest-server/door/bounds.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { assertRefused, dial, enrolledNode, introduce } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { honestAgent } from '../honest-agent.ts';
import { frameHead, rawWebSocket, untilClosed } from '../raw-peer.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const node = 'node-1';
/** Connections that met a bound: as many as a busy machine makes. */
const few = 8;
/** So few that a stranger has them all in a moment. */
const places = 64;
/** A machine of the attacker, and the one on which the node's agent runs: where both come from one address, the latter. */
const [elsewhere, own] = ['127.0.0.2', '127.0.0.1'];
const kib = 1024;

describe('a stranger who opens connections and says nothing', () => {
  let world: TestServer;
  const tpm = forgedTpm();
  before(async () => {
    world = await startTestServer({
      policy: 'observe',
      challengeEvery: 0.1,
      // So long that a busy machine, too, opens more than there are places before the first ones are dropped.
      helloWithin: 4,
      sources: { connections: places, connectionsPerSecond: places / 4 },
    });
    await enrolledNode(world, tpm, node);
  });
  after(() => world?.[Symbol.asyncDispose]());

  const hit = (port: string, bound: string) =>
    world.metric(`assay_door_refusals_total{port="${port}",bound="${bound}"}`);
  const ports = () => ({
    agents: world.server.agentPort,
    api: world.server.apiPort,
    metrics: world.server.metricsPort,
  });

  for (const from of [elsewhere, own])
    it(`holds all places of ${from === own ? 'the address of a node' : 'his own'}, and shuts nobody out on any port (row 121)`, async () => {
      const unchanged = await world.store.enrolment.node(node);
      const names = ['agents', 'api', 'metrics'] as const;
      const counted = async (bound: string) => {
        const lines = (await world.metrics()).split('\n');
        return names.map((port) => {
          const series = `assay_door_refusals_total{port="${port}",bound="${bound}"} `;
          return Number(lines.find((line) => line.startsWith(series))?.slice(series.length) ?? 0);
        });
      };
      const [taken, deadlines] = [await counted('places'), await counted('deadline')];
      const idle: Promise<Socket>[] = [];
      const openEverywhere = () => {
        for (const name of names) idle.push(idleConnection(ports()[name], from));
      };
      for (let count = 0; count < 30; count++) openEverywhere();
      const more = setInterval(openEverywhere, 40);
      // The tests' own address is that of the stranger too: at times it is refused.
      await world.until(async () => {
        const counts = await counted('places').catch(() => null);
        return counts?.every((count, index) => count >= (taken[index] ?? 0) + few);
      });
      // Whoever comes from elsewhere is let in at once, and from that very address before long.
      assert.equal(await status(world, '127.0.0.3'), 200);
      assert.match(await livez(world, '127.0.0.3'), /^HTTP\/1.1 200 /);
      await world.until(async () => (await status(world, from).catch(() => null)) === 200);
      await world.until(async () => (await livez(world, from)).startsWith('HTTP/1.1 200 '));
      for (const agentsAddress of ['127.0.0.3', from]) {
        const agent = await world.until(() => honestAgent(world, tpm, node, agentsAddress).catch(() => null));
        await world.until(() => agent.states.length >= 3);
        assert(agent.states.every((state) => state === 'trusted'));
        await agent.peer.close();
      }
      clearInterval(more);
      await Promise.all(idle.map(async (socket) => untilClosed(await socket)));
      // The others had one deadline for TLS and request.
      for (const [index, count] of (await counted('deadline')).entries())
        assert(count >= (deadlines[index] ?? 0) + few, `${names[index]} ${count}`);
      assert.deepEqual(await world.store.enrolment.node(node), unchanged);
      assert.equal((await world.status(node))?.state, 'trusted');
      const told = (await world.audit()).filter(
        ({ actor, action }) => actor === `address:${from}` && action === 'refuse',
      );
      assert(told.length >= 1 && told.length <= 6, String(told.length));
      assert(told.every(({ code }) => code === 'identity_unproven'));
    });

  it('is refused before TLS beyond what his source may open, and named by a metric (row 121)', async () => {
    const refused = async () => (await hit('agents', 'rate')) + (await hit('agents', 'rate_in_all'));
    const [before, byRate, already] = [await refused(), await hit('agents', 'rate'), await world.audit()];
    const from = '127.0.0.4';
    const all = await Promise.all(
      Array.from({ length: 150 }, () => idleConnection(world.server.agentPort, from)),
    );
    await world.until(
      async () => (await refused()) >= before + 100 && (await hit('agents', 'rate')) > byRate,
    );
    // Nobody said a word to him, and none of it is kept.
    assert.deepEqual(await world.audit(), already);
    const said = await Promise.all(all.map((socket) => untilClosed(socket)));
    assert(said.every((text) => text === ''));
    const agent = await honestAgent(world, tpm, node);
    await world.until(() => agent.states.length >= 3);
    await agent.peer.close();
  });
});

describe('a stranger who asks again and again in one connection', () => {
  it('is answered once, and whoever shows a token as often as he asks (row 121)', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const { apiPort, metricsPort } = world.server;
    const [api, metrics] = [
      () => connectTls({ port: apiPort, host: '127.0.0.1', ca: world.ca }),
      () => connect({ port: metricsPort, host: '127.0.0.1' }),
    ];
    const answers = (text: string) => text.split('HTTP/1.1 ').length - 1;
    const asked = async (open: () => Socket, text: string) => {
      const socket = open();
      socket.on('error', () => {});
      socket.write(text);
      return answers(await untilClosed(socket));
    };
    const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nhost: localhost\r\n${more}\r\n`;
    for (const [open, path] of [
      [api, '/livez'],
      [api, '/v1/nodes'],
      [metrics, '/livez'],
      [metrics, '/metrics'],
    ] as const) {
      assert.equal(await asked(open, get(path)), 1, path);
      assert((await asked(open, get(path).repeat(1000))) <= 1, path);
    }
    const counted = await world.metric('assay_refusals_total{code="token_rejected"}');
    assert.equal(counted, 2);
    const token = (await readFile(join(world.stateDir, 'reader.token'), 'utf8')).trim();
    const socket = api();
    let got = '';
    socket.on('data', (part: Buffer) => {
      got += part.toString('latin1');
    });
    for (let count = 1; count <= 3; count++) {
      socket.write(get('/v1/nodes', `authorization: Bearer ${token}\r\n`));
      await world.until(() => answers(got) === count);
    }
    socket.destroy();
  });
});

describe('a stranger behind the address of a node', () => {
  it('does not keep it out with silent WebSockets, nor by claims with other keys (row 122)', async () => {
    await using world = await startTestServer({
      policy: 'observe',
      challengeEvery: 0.1,
      sources: { connections: 800, connectionsPerSecond: 200 },
    });
    const tpm = forgedTpm();
    await enrolledNode(world, tpm, node);
    const known = await world.store.enrolment.node(node);
    const silent = await Promise.all(Array.from({ length: 60 }, () => dial(world)));
    await assertRefused(world, node, 'enrolment_pending', () => introduceAs(world, forgedTpm().hello(node)));
    for (let round = 0; round < 6; round++) {
      const claims = await Promise.all(
        Array.from({ length: 3 }, () => introduceAs(world, forgedTpm().hello(node))),
      );
      for (const claim of claims) assert.equal(await claim.refusal(), 'enrolment_pending');
      const agent = await honestAgent(world, tpm, node);
      await world.until(() => agent.states.length > 0);
      assert.deepEqual(agent.states.slice(0, 1), ['trusted']);
      await agent.peer.close();
    }
    assert.deepEqual(await world.store.enrolment.node(node), known);
    assert(world.verdicts.every(({ verdict }) => verdict.state === 'trusted'));
    await Promise.all(silent.map((peer) => peer.close()));
  });

  it('does not keep it out with copies of its own hello, however many (row 122)', async () => {
    await using world = await startTestServer({ policy: 'observe', challengeEvery: 0.1 });
    const tpm = forgedTpm();
    await enrolledNode(world, tpm, node);
    const copies = await Promise.all(Array.from({ length: 40 }, () => introduce(world, tpm, node)));
    for (const copy of copies) await copy.challenge();
    const agent = await honestAgent(world, tpm, node);
    await world.until(() => agent.states.length >= 3);
    assert(agent.states.every((state) => state === 'trusted'));
    await Promise.all([agent.peer, ...copies].map((peer) => peer.close()));
  });
});

describe('the owner of an enrolled node', () => {
  it('has few handshakes made from its address that come to nothing, and keeps no other node out (row 364)', async function () {
    this.timeout(120_000);
    await using world = await startTestServer({
      policy: 'observe',
      helloWithin: 60,
      // All that it tries are within what one source may open.
      sources: { connections: 2_000, connectionsPerSecond: 300 },
    });
    const [owned, tpm] = [forgedTpm(), forgedTpm()];
    await enrolledNode(world, owned, 'owned');
    const first = await honestAgent(world, owned, 'owned', elsewhere);
    await world.until(() => first.states.length > 0);
    const refused = () => world.metric('assay_door_refusals_total{port="agents",bound="rate"}');
    const before = await refused();
    const flood: Socket[] = [];
    // Again where the machine was too busy to let so many come at once.
    await world.until(async () => {
      for (const socket of flood.splice(0)) socket.destroy();
      const all = Array.from({ length: 590 }, () => idleConnection(world.server.agentPort, elsewhere));
      flood.push(...(await Promise.all(all)));
      return await world.until(async () => (await refused()) >= before + 20, 3_000).catch(() => false);
    }, 60_000);
    await enrolledNode(world, tpm, node);
    const agent = await honestAgent(world, tpm, node);
    await world.until(() => agent.states.length > 0);
    assert.deepEqual(agent.states, ['trusted']);
    for (const socket of flood) socket.destroy();
    await Promise.all([first.peer.close(), agent.peer.close()]);
  });
});

describe('a fleet behind one address', () => {
  it('is proven again after a restart, while a stranger of that address holds all places there (row 122)', async () => {
    await using world = await startTestServer({
      policy: 'observe',
      sources: { connections: places, connectionsPerSecond: places / 4 },
    });
    const nodes = 20;
    const fleet: (readonly [string, ForgedTpm])[] = [];
    for (let index = 0; index < nodes; index++) {
      const [name, tpm] = [`node-${index}`, forgedTpm()];
      await enrolledNode(world, tpm, name);
      fleet.push([name, tpm]);
    }
    await world.restart();
    const before = world.verdicts.length;
    const held = await Promise.all(
      Array.from({ length: places }, () => idleConnection(world.server.agentPort, own)),
    );
    await Promise.all(
      fleet.map(async ([name, tpm]) => {
        for (;;) {
          const agent = await honestAgent(world, tpm, name).catch(() => null);
          if (agent === null) await sleep(500);
          else {
            await world.until(() => agent.states.length > 0, 20_000);
            return agent.peer.close();
          }
        }
      }),
    );
    assert.equal(new Set(world.verdicts.slice(before).map((entry) => entry.node)).size, nodes);
    for (const socket of held) socket.destroy();
  });
});

describe('bytes of strangers', () => {
  it('are bounded by source: the stranger that sent most gives way, and the node of that address goes on (row 125)', async () => {
    await using world = await startTestServer({
      policy: 'observe',
      challengeEvery: 0.1,
      sources: { unprovenMiB: 1 },
    });
    const tpm = forgedTpm();
    await enrolledNode(world, tpm, node);
    const hit = () => world.metric('assay_door_refusals_total{port="agents",bound="bytes"}');
    const told = () => world.metric('assay_refusals_total{code="too_large"}');
    const strangers = await Promise.all(
      Array.from({ length: 12 }, async (_, index) => {
        const { socket } = await rawWebSocket(world, own);
        const size = (180 + index) * kib;
        socket.write(Buffer.concat([frameHead(0x1, 200 * kib), Buffer.alloc(size)]));
        return socket;
      }),
    );
    await world.until(async () => (await hit()) >= 6);
    assert.equal(await told(), await hit());
    const held = await world.metric('assay_unproven_bytes');
    // What they sent, and what each of their connections takes.
    assert(held > 700 * kib && held <= 1024 * kib + 12 * inAll.connectionBytes, String(held));
    const entry = await world.until(async () =>
      (await world.audit()).find(({ code, actor }) => code === 'too_large' && actor === `address:${own}`),
    );
    assert.equal(entry.action, 'refuse');
    const agent = await honestAgent(world, tpm, node);
    await world.until(() => agent.states.length >= 3);
    assert(agent.states.every((state) => state === 'trusted'));
    await agent.peer.close();
    for (const socket of strangers) socket.destroy();
    await world.until(async () => (await world.metric('assay_unproven_bytes')) === 0);
  });

  for (const claimed of [node, 'node-2'])
    it(`of who claims ${claimed === node ? 'the node itself' : 'another node'} with copied keys do not shut out a node of that address whose log comes (row 122)`, async () => {
      await using world = await startTestServer({ policy: 'observe', sources: { unprovenMiB: 1 } });
      const tpms = new Map([node, 'node-2'].map((name) => [name, forgedTpm()] as const));
      for (const [name, tpm] of tpms) await enrolledNode(world, tpm, name);
      const tpmOf = (name: string) => tpms.get(name) ?? assert.fail();
      const claims: Socket[] = [];
      for (let index = 0; index < 26; index++) {
        const { socket } = await rawWebSocket(world, own);
        const hello = JSON.stringify(tpmOf(claimed).hello(claimed));
        socket.write(Buffer.concat([frameHead(0x1, hello.length), Buffer.from(hello)]));
        await once(socket, 'data');
        socket.write(Buffer.concat([frameHead(0x2, 200 * kib), Buffer.alloc(48 * kib)]));
        claims.push(socket);
      }
      await world.until(
        async () => (await world.metric('assay_door_refusals_total{port="agents",bound="bytes"}')) >= 4,
      );
      const peer = await introduce(world, tpmOf(node), node);
      const bootLog = recordedLog('rhel8-padded');
      const challenge = await peer.challenge();
      peer.send(binaryFrame('part', bootLog));
      peer.send(tpmOf(node).evidence(challenge, { node, hello: peer.hello, channel: peer.channel, bootLog }));
      await peer.verdict();
      assert.equal((await world.status(node))?.parts.boot, hash('sha256', bootLog, 'hex'));
      const told = (await world.audit()).filter(({ code }) => code === 'too_large');
      assert(
        told.length >= 1 && told.every(({ action, subject }) => action === 'refuse' && subject === claimed),
      );
      await peer.close();
      for (const socket of claims) socket.destroy();
    });

  it('that come after the refusal of a connection are not read', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const { socket } = await rawWebSocket(world, elsewhere);
    socket.write(Buffer.concat([frameHead(0x1, 2), Buffer.from('{}')]));
    await world.until(async () => (await world.metric('assay_refusals_total{code="malformed"}')) === 1);
    for (let sent = 0; sent < 64; sent++) socket.write(Buffer.alloc(64 * kib));
    await sleep(300);
    const held = await world.metric('assay_unproven_bytes');
    assert(held < 256 * kib, String(held));
    await untilClosed(socket);
  });
});

async function introduceAs(world: TestServer, hello: object) {
  const peer = await dial(world);
  peer.send(hello);
  return peer;
}

async function idleConnection(port: number, localAddress: string): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, localAddress });
  socket.on('error', () => {});
  // It may be refused at once.
  await once(socket, 'connect').catch(() => undefined);
  return socket;
}

/** What the API answers a caller of this address. */
async function status({ server, ca }: TestServer, localAddress: string): Promise<number> {
  const { apiPort: port } = server;
  const asked = request({ host: '127.0.0.1', port, ca, path: '/livez', localAddress, agent: false });
  asked.end();
  const [answer] = await once(asked, 'response');
  answer.resume();
  return answer.statusCode;
}

async function livez({ server }: TestServer, from: string): Promise<string> {
  const socket = await idleConnection(server.metricsPort, from);
  socket.write('GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n');
  return await untilClosed(socket);
}
