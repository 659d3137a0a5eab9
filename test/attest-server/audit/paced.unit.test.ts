import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { paced } from '../../../attest-server/audit/paced.ts';

describe('work that is asked for', () => {
  it('is done at once, then no more often than it may, and after each who asked', async () => {
    let done = 0;
    const ask = paced(200, async () => {
      done += 1;
    });
    const started = performance.now();
    await ask();
    assert(performance.now() - started < 150);
    await Promise.all(Array.from({ length: 50 }, () => ask()));
    assert.equal(done, 2);
    assert(performance.now() - started >= 195);
  });

  it('fails for those who waited for it, and is tried again for the next', async () => {
    let turn = 0;
    const ask = paced(1, async () => {
      turn += 1;
      if (turn === 1) throw new Error('no disk');
    });
    const all = await Promise.allSettled([ask(), ask()]);
    assert.deepEqual(
      all.map(({ status }) => status),
      ['rejected', 'rejected'],
    );
    await ask();
    assert.equal(turn, 2);
  });
});
