import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { HeavyTurns } from '../../../attest-server/attest/heavy-turns.ts';

describe('the turns of heavy work', () => {
  it('are had one at a time, with a rest of twice as long after each (row 362)', async () => {
    const turns = new HeavyTurns(() => 0, 2);
    const had: { readonly begin: number; readonly end: number }[] = [];
    await Promise.all(
      Array.from({ length: 6 }, async (_, index) => {
        await turns.next(`node-${index}`);
        const begin = performance.now();
        while (performance.now() < begin + 10);
        had.push({ begin, end: performance.now() });
      }),
    );
    assert.equal(had.length, 6);
    for (let i = 1; i < had.length; i++) {
      const { begin, end } = had[i - 1]!;
      assert(had[i]!.begin - end >= 1.9 * (end - begin), JSON.stringify(had));
    }
  });

  it('without a rest are steps of one at a time, and the loop goes on between them (row 362)', async () => {
    const turns = new HeavyTurns(() => 0, 0);
    let [loops, isOver] = [0, false];
    const others = (async () => {
      for (; !isOver; loops++) await new Promise((resolve) => setImmediate(resolve));
    })();
    let [under, most, steps] = [0, 0, 0];
    await Promise.all(
      ['a', 'b', 'c'].map(async (node) => {
        for (let step = 0; step < 20; step++) {
          await turns.next(node);
          most = Math.max(most, ++under);
          steps += 1;
          under -= 1;
        }
      }),
    );
    isOver = true;
    await others;
    assert.deepEqual([most, steps], [1, 60]);
    assert(loops >= 59, String(loops));
  });

  it('come to the node that has spent least, not to who came first (row 362)', async () => {
    const left = new Map([['honest', 2_000]]);
    const turns = new HeavyTurns((node) => left.get(node) ?? 0, 2);
    const order: string[] = [];
    const take = async (node: string) => {
      await turns.next(node);
      order.push(node);
    };
    await Promise.all(['first', 'second', 'third', 'honest'].map(take));
    assert.deepEqual(order, ['first', 'honest', 'second', 'third']);
  });

  it('are three at a time for one node, and no others wait for them (row 362)', async () => {
    const turns = new HeavyTurns(() => 0, 2);
    const waiting = Array.from({ length: 10 }, () => turns.next('a'));
    const other = turns.next('b');
    const settled = await Promise.allSettled(waiting);
    const refused = settled.filter(({ status }) => status === 'rejected');
    // The first one has its turn already.
    assert.equal(refused.length, 6);
    for (const each of refused)
      assert.equal(each.status === 'rejected' && (each.reason as { code?: unknown }).code, 'too_large');
    await other;
    assert.equal(turns.waiting, 0);
  });
});
