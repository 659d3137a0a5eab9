import assert from 'node:assert/strict';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, it } from 'mocha';
import { dial, enrolledNode, introduce } from '../attacker.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { rawTcp, rawTls } from '../raw-peer.ts';
import { startTestServer } from '../running-server.ts';

const node = 'node-1';

describe('a server that ends', () => {
  it('says goodbye, takes nobody new, and is back before any node is overdue: no state moves', async () => {
    await using world = await startTestServer({ policy: 'observe', challengeEvery: 0.2, unknownAfter: 3 });
    const tpm = forgedTpm();
    await enrolledNode(world, tpm, node);
    const first = await introduce(world, tpm, node);
    first.send(tpm.evidence(await first.challenge(), { node, hello: first.hello, channel: first.channel }));
    await first.verdict();
    const goodbye = once(first.socket, 'close');
    await world.restart();
    assert.equal((await goodbye)[0], 1001);
    const again = await introduce(world, tpm, node);
    again.send(tpm.evidence(await again.challenge(), { node, hello: again.hello, channel: again.channel }));
    assert.equal((await again.verdict()).state, 'trusted');
    assert(world.verdicts.every(({ verdict }) => verdict.state === 'trusted'));
    assert.equal(world.verdicts.filter(({ transition }) => transition).length, 1);
    await again.close();
  });

  it('lets verdicts under way be committed and said first', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const peers = await Promise.all(
      Array.from({ length: 8 }, async (_, index) => {
        const [name, tpm] = [`node-${index}`, forgedTpm()];
        await enrolledNode(world, tpm, name);
        const peer = await introduce(world, tpm, name);
        const occasion = { node: name, hello: peer.hello, channel: peer.channel };
        return { peer, evidence: tpm.evidence(await peer.challenge(), occasion) };
      }),
    );
    const before = world.verdicts.length;
    for (const { peer, evidence } of peers) peer.send(evidence);
    await world.until(() => world.verdicts.length > before);
    const [, ...said] = await Promise.all([
      world.restart(),
      ...peers.map(async ({ peer }) => (await peer.receive())?.type ?? null),
    ]);
    // Whoever was told was committed, and nobody was told something else.
    const told = said.filter((type) => type === 'verdict').length;
    assert(told >= 1 && said.every((type) => type === 'verdict' || type === null), said.join());
    assert(world.verdicts.length - before >= told);
  });

  it('does not wait for those who never said anything', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const silent = await dial(world);
    const [tcp, tls] = [await rawTcp(world, '127.0.0.2'), await rawTls(world, '127.0.0.2')];
    const deaf = await dial(world);
    deaf.socket.pause();
    await sleep(50);
    const started = performance.now();
    await world.restart();
    assert(performance.now() - started < 2_500);
    assert.equal(await silent.receive(), null);
    for (const socket of [tcp, tls]) if (!socket.closed) await once(socket, 'close');
    deaf.socket.terminate();
  });
});
