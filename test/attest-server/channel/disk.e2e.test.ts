import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { enrolledNode, introduce } from '../attacker.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';

/** With it, that share is spent before the one of judgements, which a node would have to wait for. */
const inventoryOf = (value: number) => Buffer.from(JSON.stringify({ value, filler: 'x'.repeat(20_000) }));

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

  for (const [what, node, resetCountOf] of [
    ['the same verdict is written anew', 'greedy-1', () => 7],
    ['its verdict changes each time', 'greedy-2', (answers: number) => 7 + answers],
  ] as const)
    it(`is bounded where ${what}, however often it comes and however much it sends; others are judged on`, async () => {
      const [greedy, other] = [forgedTpm(), forgedTpm()];
      await enrolledNode(world, greedy, node);
      await enrolledNode(world, other, `beside-${node}`);
      let answers = 0;
      const answer = async () => {
        const peer = await introduce(world, greedy, node);
        const userSpace = Buffer.from(userspaceLog(++answers), 'base64');
        const resetCount = resetCountOf(answers);
        const quote = (data: Buffer) => madeQuote(greedy.ak, data, { resetCount });
        const bootId = `6f9619ff-8b86-d011-b42d-${String(resetCount).padStart(12, '0')}`;
        const occasion = { node, hello: peer.hello, channel: peer.channel, bootId };
        const challenge = await peer.challenge();
        const parts = { userSpace, inventory: inventoryOf(answers) };
        for (const part of Object.values(parts)) peer.send(binaryFrame('part', part));
        peer.send(greedy.evidenceOfParts(challenge, occasion, parts, quote));
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
      assert.equal((await world.status(node))?.state, 'trusted');
      const rows = await world.store.verdicts.history(node, { limit: 99 });
      // Its first boot, the one that answers, and then a row for each change, until these are joined.
      assert.equal(rows.length, node === 'greedy-2' ? 8 : 2);
      const entry = await world.until(async () =>
        (await world.audit()).find((each) => each.action === 'refuse' && each.subject === node),
      );
      assert.equal(entry.code, 'too_large');
      await enrolledNode(world, other, `beside-${node}`);
    });
});
