import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectPlain } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { after, before, describe, it } from 'mocha';
import { limits } from '../../../attest-server/wire/limits.ts';
import { attestPath, binaryFrame } from '../../../attest-server/wire/messages.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
import { assertRefused, assertTold, dial, enrolledNode, introduce, type Peer } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

let count = 0;
const newName = () => `node-${++count}`;

describe('the listener, over a real connection', () => {
  let world: TestServer;
  before(async () => {
    world = await startTestServer({ policy: 'observe', helloWithin: 0.4 });
  });
  after(() => world?.[Symbol.asyncDispose]());

  const refusals = (code: ReasonCode) => world.metric(`assay_refusals_total{code="${code}"}`);

  for (const [what, how] of [
    ['a browser, which sends an Origin', { headers: { origin: 'https://example.org' } }],
    ['another path', { path: '/v1/attest/../nodes' }],
    ['another subprotocol', { subprotocols: ['assay.v9'] }],
  ] as const)
    it(`refuses ${what}, and counts it`, async () => {
      const before = await refusals('malformed');
      await assert.rejects(dial(world, how), /400/);
      assert.equal(await refusals('malformed'), before + 1);
    });

  it('refuses TLS 1.2', () => assert.rejects(dial(world, { maxVersion: 'TLSv1.2' }), { code: 'EPROTO' }));

  it('takes part in no dearer key exchange than it must, on any port, also with a new certificate (row 123)', async () => {
    const speaks = async (port: number, ecdhCurve: string) => {
      const socket = connectTls({ port, host: '127.0.0.1', ca: world.ca, ecdhCurve });
      const began = await Promise.race([
        once(socket, 'secureConnect').then(() => true),
        once(socket, 'close').then(() => false),
      ]).catch(() => false);
      socket.destroy();
      return began;
    };
    for (const renewed of [false, true]) {
      if (renewed) await world.server.reload();
      for (const port of [world.server.agentPort, world.server.apiPort]) {
        for (const group of ['P-384', 'P-521', 'X448', 'ffdhe3072'])
          assert.equal(await speaks(port, group), false, group);
        for (const group of ['X25519MLKEM768', 'X25519', 'P-256'])
          assert.equal(await speaks(port, group), true, group);
      }
    }
  });

  it('answers a plain request with 426 and nothing else', async () => {
    const answer = await rawRequest(world, `GET ${attestPath} HTTP/1.1\r\nhost: localhost\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 426 /);
  });

  it('survives a peer that resets its connection in the middle of a refused handshake', async () => {
    for (let round = 0; round < 5; round++) {
      const raw = connectPlain(world.server.agentPort, '127.0.0.1');
      const socket = connectTls({ socket: raw, host: '127.0.0.1', ca: world.ca });
      socket.on('error', () => {});
      await once(socket, 'secureConnect');
      socket.write(
        'GET /nowhere HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
      );
      await sleep(round);
      raw.resetAndDestroy();
    }
    const plain = connectPlain(world.server.agentPort, '127.0.0.1');
    plain.on('error', () => {});
    plain.end('not TLS at all\r\n\r\n');
    await once(plain, 'close');
    await enrolledNode(world, forgedTpm(), newName());
  });

  it('drops who does not say hello in time, or stops half-way', async () => {
    const silent = await dial(world);
    const before = await refusals('identity_unproven');
    const started = performance.now();
    assert.equal(await silent.refusal(), 'identity_unproven');
    assert(performance.now() - started < 3_000);
    const [node, tpm] = [newName(), forgedTpm()];
    await assertRefused(world, node, 'identity_unproven', async () => {
      const peer = await dial(world);
      peer.send({ ...tpm.hello(node), joinToken: true });
      return peer;
    });
    assert.equal(await refusals('identity_unproven'), before + 2);
  });

  const outOfOrder: readonly (readonly [string, (peer: Peer, tpm: ForgedTpm, node: string) => void])[] = [
    ['a second hello', (peer, tpm, node) => peer.send(tpm.hello(node))],
    ['an activation nobody asked for', (peer) => peer.send({ type: 'activated', proof: '00'.repeat(32) })],
    ['a join token late', (peer) => peer.send(binaryFrame('joinToken', Buffer.from('a.b')))],
    ['an unknown kind of binary frame', (peer) => peer.send(Buffer.from('\x09bytes'))],
    ['an empty binary frame', (peer) => peer.send(Buffer.alloc(0))],
    ['a message that is not JSON', (peer) => peer.send('{')],
    ['an unknown type', (peer) => peer.send({ type: 'verdict', state: 'trusted', codes: [] })],
    ['an unknown field', (peer) => peer.send({ type: 'changed', what: 'x', also: 1 })],
    ['a code that is none', (peer) => peer.send({ type: 'error', code: 'all_is_well' })],
    ['text that is not UTF-8', (peer) => peer.socket.send(Buffer.from([0xff, 0xfe]), { binary: false })],
  ];
  for (const [what, attack] of outOfOrder)
    it(`refuses ${what} as malformed`, async () => {
      const [node, tpm] = [newName(), forgedTpm()];
      await enrolledNode(world, tpm, node);
      const before = [await refusals('malformed'), await world.status(node)];
      const peer = await introduce(world, tpm, node);
      await peer.challenge();
      attack(peer, tpm, node);
      const code = await ending(peer);
      assert(code === 'malformed' || code === null, String(code));
      assert.deepEqual(
        [await refusals('malformed'), await world.status(node)],
        [Number(before[0]) + 1, before[1]],
      );
    });

  it('refuses what comes before a hello', async () => {
    for (const frame of [
      { type: 'activated', proof: '00'.repeat(32) },
      { type: 'changed', what: 'x' },
      { type: 'error', code: 'kernel_unknown' },
      binaryFrame('part', Buffer.alloc(8)),
      binaryFrame('joinToken', Buffer.from('a.b')),
    ]) {
      const peer = await dial(world);
      peer.send(frame);
      assert.equal(await peer.refusal(), 'malformed');
    }
  });

  it('refuses a hello with a name that could break a log line, or another protocol (row 72)', async () => {
    const [tpm, beside] = [forgedTpm(), newName()];
    await enrolledNode(world, tpm, beside);
    const hostile = ['node-1\n{"level":60}', 'Node', '\x1b[31mred', '<b>', '', 'a'.repeat(300), '../x'];
    const hellos = [
      ...hostile.map((node) => ({ ...tpm.hello('x'), node })),
      { ...tpm.hello('x'), versions: { protocol: [2, 3], program: '9.0.0' } },
    ];
    const expected = { code: 'malformed', from: '127.0.0.2', times: hellos.length, beside } as const;
    await assertTold(world, expected, async () => {
      for (const hello of hellos) {
        const peer = await dial(world, { from: expected.from });
        peer.send(hello);
        assert.equal(await peer.refusal(), 'malformed');
      }
    });
    // Neither the audit log nor the names of metrics hold a word of it.
    const metrics = await fetch(`http://127.0.0.1:${world.server.metricsPort}/metrics`);
    for (const text of [JSON.stringify(await world.audit()), await metrics.text()])
      assert.doesNotMatch(text, /level.{1,4}60|x1b|u001b|<b>|a{300}|\.\.\/x/);
  });

  it('refuses frames over the limits, and does not keep them (rows 69, 73)', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    await enrolledNode(world, tpm, node);
    for (const [from, frame] of [
      ['127.0.0.3', 'x'.repeat(limits.textFrame + 1)],
      ['127.0.0.4', Buffer.alloc(limits.binaryFrame + 1)],
    ] as const)
      await assertTold(world, { code: 'too_large', from, times: 1, beside: node }, async () => {
        const peer = await dial(world, { from });
        peer.send(frame);
        const said = await ending(peer);
        assert(said === 'too_large' || said === null, String(said));
      });
    await assertRefused(world, node, 'too_large', async () => {
      const peer = await introduce(world, tpm, node);
      const challenge = await peer.challenge();
      const bootLog = Buffer.alloc(limits.parts.boot + 1);
      peer.send(binaryFrame('part', bootLog));
      peer.send(tpm.evidence(challenge, { node, hello: peer.hello, channel: peer.channel, bootLog }));
      return peer;
    });
  });

  it('negotiates no compression, so that no frame grows after it was measured (row 73)', async () => {
    const peer = await dial(world);
    assert.equal(peer.socket.extensions, '');
    await peer.close();
  });

  it('counts no connections by the name that they claim, and the proven one is not touched', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    await enrolledNode(world, tpm, node);
    const honest = await introduce(world, tpm, node);
    const answer = async () => {
      honest.send(
        tpm.evidence(await honest.challenge(), { node, hello: honest.hello, channel: honest.channel }),
      );
      return (await honest.verdict()).state;
    };
    await answer();
    const held = await Promise.all(Array.from({ length: 5 }, () => introduce(world, tpm, node)));
    for (const peer of held) await peer.challenge();
    honest.send({ type: 'changed', what: 'still here' });
    assert.equal(await answer(), 'trusted');
    for (const peer of [...held, honest]) await peer.close();
  });

  it('lets a connection displace an older one only once it proved itself', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    await enrolledNode(world, tpm, node);
    const [old, young] = [await introduce(world, tpm, node), await introduce(world, tpm, node)];
    for (const peer of [old, young])
      peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel }));
    await old.verdict();
    await young.verdict();
    assert.equal(await ending(old), null);
    await young.close();
  });

  it('limits how often an agent may ask to be challenged', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    await enrolledNode(world, tpm, node);
    const peer = await introduce(world, tpm, node);
    const before = world.verdicts.length;
    peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel }));
    await peer.verdict();
    for (let asked = 0; asked < 20; asked++) peer.send({ type: 'changed', what: 'again' });
    let challenges = 0;
    for (const end = performance.now() + 500; performance.now() < end; ) {
      const message = await Promise.race([peer.peek(), sleep(100, undefined)]);
      if (message?.type !== 'challenge') continue;
      challenges++;
      peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel }));
      await peer.verdict();
      for (let asked = 0; asked < 20; asked++) peer.send({ type: 'changed', what: 'again' });
    }
    assert(challenges >= 1 && challenges <= 4, String(challenges));
    assert.equal(world.verdicts.length, before + 1 + challenges);
    await peer.close();
  });
});

/** The code that the server said before the end; null where it only closed. */
async function ending(peer: Peer): Promise<unknown> {
  for (let code: unknown = null; ; ) {
    const message = await peer.receive();
    if (message === null) return code;
    if (message.type === 'error') code = message.code;
  }
}

async function rawRequest({ ca, server }: TestServer, text: string): Promise<string> {
  const socket = connectTls({ host: '127.0.0.1', port: server.agentPort, ca });
  await once(socket, 'secureConnect');
  socket.write(text);
  let answer = '';
  for await (const part of socket) answer += String(part);
  return answer;
}
