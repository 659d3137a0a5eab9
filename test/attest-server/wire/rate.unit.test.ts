import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { Rate } from '../../../attest-server/wire/rate.ts';

describe('a rate', () => {
  it('allows a burst, then so many a second, and gives back what was asked for', () => {
    const rate = new Rate({ burst: 3, perSecond: 10 }, 0);
    const taken = [0, 0, 0, 0, 50, 100, 100].map((now) => rate.take(now));
    assert.deepEqual(taken, [true, true, true, false, false, true, false]);
    rate.refund(1);
    assert.equal(rate.take(100), true);
    rate.refund(100);
    assert.deepEqual(
      [1, 2, 3, 4].map(() => rate.take(100)),
      [true, true, true, false],
    );
  });
});
