import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, it } from 'mocha';
import { introduce } from '../attacker.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { honestAgent } from '../honest-agent.ts';
import { startTestServer } from '../running-server.ts';

const node = 'node-1';

/** The server asks a second time only where it is told to. */
describe('a challenge that somebody wants now', () => {
  it('follows the answer where something changed while another one was open, once', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const tpm = forgedTpm();
    await world.pin(node, tpm.ekDigest);
    const peer = await introduce(world, tpm, node);
    const answer = async () => {
      const challenge = await peer.challenge();
      return tpm.evidence(challenge, { node, hello: peer.hello, channel: peer.channel });
    };
    const first = await answer();
    for (const what of ['a', 'b']) peer.send({ type: 'changed', what });
    peer.send(first);
    await peer.verdict();
    const second = await answer();
    assert.notEqual(second.nonce, first.nonce);
    peer.send(second);
    await peer.verdict();
    await sleep(100);
    assert.equal(world.verdicts.length, 2);
    await peer.close();
  });

  it('follows too where the open one ends without evidence', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const tpm = forgedTpm();
    await world.pin(node, tpm.ekDigest);
    const peer = await introduce(world, tpm, node);
    peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel }));
    await peer.verdict();
    peer.send({ type: 'changed', what: 'x' });
    const { nonce } = await peer.challenge();
    peer.send({ type: 'changed', what: 'x' });
    peer.send({ type: 'error', code: 'evidence_raced' });
    assert.notEqual((await peer.challenge()).nonce, nonce);
    await peer.close();
  });

  it('comes a second later where an agent says more changes than it may, and is not lost', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const tpm = forgedTpm();
    await world.pin(node, tpm.ekDigest);
    const { peer, states } = await honestAgent(world, tpm, node);
    const answered = (count: number) => world.until(() => states.length >= count);
    await answered(1);
    for (let count = 2; count <= 4; count++) {
      peer.send({ type: 'changed', what: 'x' });
      await answered(count);
    }
    const started = performance.now();
    for (let count = 0; count < 5; count++) peer.send({ type: 'changed', what: 'x' });
    await answered(5);
    assert(performance.now() - started > 300);
    await sleep(300);
    assert.equal(states.length, 5);
    await peer.close();
  });

  it('goes to one named node at once, and to all of them spread over some time, once each', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const fleet = await Promise.all(
      Array.from({ length: 60 }, async (_, index) => {
        const [name, tpm] = [`node-${index}`, forgedTpm()];
        await world.pin(name, tpm.ekDigest);
        const agent = await honestAgent(world, tpm, name);
        const asked: number[] = [];
        await world.until(() => agent.states.length === 1, 20_000);
        agent.peer.socket.on('message', (data: Buffer) => {
          if (String(data).includes('"challenge"')) asked.push(performance.now());
        });
        return { agent, asked };
      }),
    );
    world.server.challengeNow('node-7');
    await world.until(() => fleet[7]?.asked.length === 1);
    assert.equal(fleet.flatMap(({ asked }) => asked).length, 1);

    world.server.challengeNow();
    await world.until(() => fleet.every(({ agent }, index) => agent.states.length === (index === 7 ? 3 : 2)));
    const times = fleet.map(({ asked }) => asked.at(-1) ?? 0);
    // 120 ms for sixty: all at once would be some ten.
    assert(Math.max(...times) - Math.min(...times) > 60);
    await Promise.all(fleet.map(({ agent }) => agent.peer.close()));
  });

  it('reaches nobody where only a copy of the hello of a node is there (row 108)', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const tpm = forgedTpm();
    await world.pin(node, tpm.ekDigest);
    const { peer, states } = await honestAgent(world, tpm, node);
    await world.until(() => states.length === 1);
    assert.equal(world.server.challengeNow(node), true);
    await peer.close();
    const copy = await introduce(world, tpm, node);
    await copy.challenge();
    await world.until(() => !world.server.challengeNow(node));
    await copy.close();
  });
});
