import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { enrolledNode, introduce } from '../attacker.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

/** What one record of user space may hold, made up. */
function userspaceLog(value: number): string {
  const record = `\x1e${JSON.stringify({ nv_index: value, filler: 'x'.repeat(60_000) })}\n`;
  return Buffer.from(record).toString('base64');
}

describe('what one node can write to the disk', () => {
  let world: TestServer;
  before(async () => {
    world = await startTestServer({ policy: 'observe' });
  });
  after(() => world?.[Symbol.asyncDispose]());

  it('is bounded, however often it comes anew and however much it sends; others are judged on', async () => {
    const [greedy, other] = [forgedTpm(), forgedTpm()];
    await enrolledNode(world, greedy, 'greedy');
    await enrolledNode(world, other, 'other');
    let answers = 0;
    const answer = async () => {
      const peer = await introduce(world, greedy, 'greedy');
      const occasion = { node: 'greedy', hello: peer.hello, channel: peer.channel };
      const message = { userspaceLog: userspaceLog(++answers) };
      peer.send(greedy.evidence(await peer.challenge(), occasion, { message }));
      return peer;
    };
    let told: Readonly<Record<string, unknown>> | null = null;
    for (let sent = 0; sent < 90 && told?.type !== 'error'; sent += 1) {
      const peer = await answer();
      told = await peer.receive();
      await peer.close();
    }
    assert.ok(answers > 40);
    assert.deepEqual(told, { type: 'error', code: 'too_large' });
    assert.equal((await world.store.verdicts.history('greedy', { limit: 99 })).length, answers);
    assert.equal((await world.status('greedy'))?.state, 'trusted');
    const entry = await world.until(async () =>
      (await world.audit()).find(({ action, code }) => action === 'refuse' && code === 'too_large'),
    );
    assert.equal(entry.subject, 'greedy');
    await enrolledNode(world, other, 'other');
  });
});
