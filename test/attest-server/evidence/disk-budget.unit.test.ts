import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { DiskBudget } from '../../../attest-server/evidence/disk-budget.ts';
import { rejectionOf } from '../verify/rejection-of.ts';

const hour = 3_600_000;

/** How many of these answers, one each so many milliseconds, are taken before one is refused. */
function taken(
  budget: DiskBudget,
  { bytes, every, most }: Record<'bytes' | 'every' | 'most', number>,
): number {
  for (let count = 0; count < most; count += 1)
    if (rejectionOf(() => budget.take(bytes, count * every))?.code === 'too_large') return count;
  return most;
}

describe('the share of the disk that one node may fill', () => {
  it('is enough for honest answers, however often the server asks', () => {
    for (const every of [20, 1_000, 5_000, 60_000, 300_000])
      assert.equal(taken(new DiskBudget('node-1', every), { bytes: 49_152, every, most: 10_000 }), 10_000);
  });

  it('is enough for a node whose state flaps each second for an hour', () => {
    assert.equal(taken(new DiskBudget('node-1', 60_000), { bytes: 1_400, every: 1_000, most: 3_600 }), 3_600);
  });

  it('ends where a node fills it on purpose, and is regained with time', () => {
    const budget = new DiskBudget('node-1', 60_000);
    const greedy = { bytes: 100_000, every: 10, most: 10_000 };
    assert.ok(taken(budget, greedy) < 50);
    taken(budget, { ...greedy, bytes: 1_000 });
    assert.equal(rejectionOf(() => budget.check(0))?.code, 'too_large');
    // A clock that goes back gives nothing.
    assert.equal(rejectionOf(() => budget.take(100_000, -hour))?.code, 'too_large');
    assert.equal(
      rejectionOf(() => budget.take(100_000, hour)),
      null,
    );
  });
});
