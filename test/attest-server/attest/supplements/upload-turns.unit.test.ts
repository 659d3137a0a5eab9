import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { UploadTurns } from '../../../../attest-server/attest/supplements/upload-turns.ts';

const [kib, minute] = [1024, 60_000];

describe('the turn of a node that sends an image while others wait', () => {
  const turns = new UploadTurns();

  it('has two minutes at 512 KiB a second; after each that was given up twice the time at half the rate', () => {
    for (const rank of [0, 1, 2, 3, 4, 5]) {
      const [time, rate] = [2 * minute * 2 ** rank, (512 * kib) / 2 ** rank];
      const isOver = (lasted: number, perSecond: number) =>
        turns.isOver({ lasted, bytes: (perSecond * lasted) / 1000 }, rank);
      assert.deepEqual([isOver(time - 1, rate), isOver(time, 100 * rate)], [false, true]);
      assert.deepEqual(
        [isOver(10_000, 0), isOver(10_001, rate - 1), isOver(10_001, rate)],
        [false, true, false],
      );
    }
  });

  it('ranks by what it gave up, at most five times, and for good', () => {
    const ranks = Array.from({ length: 7 }, () => {
      turns.gaveUp('node');
      return turns.rank('node');
    });
    assert.deepEqual(ranks, [1, 2, 3, 4, 5, 5, 5]);
    assert.equal(turns.rank('other'), 0);
  });

  it('counts as given up where it lasted and came to nothing, and not where it failed at once', () => {
    turns.ended('other', { lasted: 10_000, bytes: 0 });
    assert.equal(turns.rank('other'), 0);
    turns.ended('other', { lasted: 20_001, bytes: 1 });
    assert.equal(turns.rank('other'), 1);
    turns.forget('other');
    assert.equal(turns.rank('other'), 0);
  });
});
