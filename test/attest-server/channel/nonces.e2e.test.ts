import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { assertRefused, enrolledNode, introduce } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

let count = 0;

describe('nonces, over a real connection', () => {
  let world: TestServer;
  before(async () => {
    world = await startTestServer({ policy: 'observe' });
  });
  after(() => world?.[Symbol.asyncDispose]());

  async function victim(on = world): Promise<{ node: string; tpm: ForgedTpm }> {
    const [node, tpm] = [`node-${++count}`, forgedTpm()];
    await enrolledNode(on, tpm, node);
    return { node, tpm };
  }

  it('refuses a nonce that was used before (row 16)', async () => {
    const { node, tpm } = await victim();
    const peer = await introduce(world, tpm, node);
    const answer = tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel });
    peer.send(answer);
    await peer.verdict();
    await assertRefused(world, node, 'nonce_replayed', async () => {
      peer.send(answer);
      return peer;
    });
  });

  it('refuses the nonce of another conversation (row 16)', async () => {
    const [a, b] = [await victim(), await victim()];
    const [first, second] = [await introduce(world, a.tpm, a.node), await introduce(world, b.tpm, b.node)];
    const [forFirst, forSecond] = [await first.challenge(), await second.challenge()];
    await assertRefused(world, a.node, 'nonce_invalid', async () => {
      first.send(a.tpm.evidence(forSecond, { node: a.node, hello: first.hello, channel: first.channel }));
      return first;
    });
    await assertRefused(world, b.node, 'nonce_invalid', async () => {
      second.send(b.tpm.evidence(forFirst, { node: b.node, hello: second.hello, channel: second.channel }));
      return second;
    });
  });

  it('refuses the nonce of an older challenge, and an answer after its deadline (row 16)', async () => {
    await using hasty = await startTestServer({ policy: 'observe', challengeEvery: 0.3, answerWithin: 0.3 });
    const { node, tpm } = await victim(hasty);
    await assertRefused(hasty, node, 'nonce_stale', async () => {
      const peer = await introduce(hasty, tpm, node);
      const old = await peer.challenge();
      await peer.challenge();
      peer.send(tpm.evidence(old, { node, hello: peer.hello, channel: peer.channel }));
      return peer;
    });
    await using slow = await startTestServer({ policy: 'observe', answerWithin: 0.2 });
    const late = await victim(slow);
    await assertRefused(slow, late.node, 'nonce_stale', async () => {
      const peer = await introduce(slow, late.tpm, late.node);
      const challenge = await peer.challenge();
      await new Promise((resolve) => setTimeout(resolve, 250));
      peer.send(late.tpm.evidence(challenge, { node: late.node, hello: peer.hello, channel: peer.channel }));
      return peer;
    });
  });

  it('does not ask over the head of an agent that is at work: the next question follows its answer', async () => {
    const { node, tpm } = await victim();
    const peer = await introduce(world, tpm, node);
    const challenge = await peer.challenge();
    // Whatever makes the server want to know anew, such as another policy.
    await world.server.reload();
    peer.send(tpm.evidence(challenge, { node, hello: peer.hello, channel: peer.channel }));
    assert.equal((await peer.receive())?.type, 'verdict');
    assert.notEqual((await peer.challenge()).nonce, challenge.nonce);
    await peer.close();
  });

  it('gives each challenge a nonce of its own, over connections and restarts (row 81)', async () => {
    const { node, tpm } = await victim();
    const nonces: string[] = [];
    for (const restart of [false, true, false]) {
      if (restart) await world.restart();
      const peer = await introduce(world, tpm, node);
      const { nonce: drawn } = await peer.challenge();
      assert.equal(Buffer.from(drawn, 'base64').length, 32);
      nonces.push(drawn);
      await peer.close();
    }
    assert.equal(new Set(nonces).size, nonces.length);
  });
});
