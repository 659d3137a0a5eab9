import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { HeldAnswers } from '../../../attest-server/attest/held-answers.ts';

describe('answers that wait to be judged', () => {
  it('take so many bytes in all; a node that has cost little, or least, may have one beyond that (row 400)', async () => {
    const left = new Map([['honest', 5]]);
    const held = new HeldAnswers((node) => left.get(node) ?? 0, 10, 100);
    const { promise, resolve } = Promise.withResolvers<void>();
    const hold = (node: string, bytes: number, isBusy: boolean) =>
      held.during(node, bytes, isBusy, () => promise);
    const kept = [hold('a', 60, true), hold('a', 40, true)];
    await assert.rejects(hold('a', 10, true), { code: 'too_large', message: /another long answer of a$/ });
    await assert.rejects(hold('b', 10, true), { code: 'too_large' });
    kept.push(hold('c', 50, false));
    await assert.rejects(hold('c', 10, false), { code: 'too_large' });
    kept.push(hold('honest', 50, true));
    for (const other of ['honest', 'b']) await assert.rejects(hold(other, 10, true), { code: 'too_large' });
    // Attack: a node that cost much once is kept from its usual answers by others who hold all room.
    for (const each of ['a', 'b', 'c', 'honest']) kept.push(hold(each, 9, true));
    resolve();
    await Promise.all(kept);
    assert.equal(await held.during('a', 100, true, async () => 'judged'), 'judged');
  });

  it('leave room again where what is done with one fails', async () => {
    const held = new HeldAnswers(() => 0, 10, 100);
    for (let round = 0; round < 3; round++)
      await assert.rejects(
        held.during('a', 100, true, () => Promise.reject(new Error('no log'))),
        /^Error: no log$/,
      );
  });
});
