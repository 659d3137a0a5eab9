import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { Doubts } from '../../../attest-server/marking/doubts.ts';
import { today } from './made-marking.ts';

const minute = 60_000;

describe('what makes the server doubt its own view', () => {
  it('is a step of the clock, for ten minutes', () => {
    const doubts = new Doubts(null, 0);
    doubts.look(today, 0);
    doubts.look(today + 1000 + 29_000, 1000);
    assert.deepEqual(doubts.now(1000), []);
    doubts.look(today - 3_600_000, 2000);
    assert.deepEqual(doubts.now(2000), ['clock']);
    doubts.look(today - 3_600_000 + 9 * minute, 2000 + 9 * minute);
    assert.deepEqual(doubts.now(2000 + 9 * minute), ['clock']);
    assert.deepEqual(doubts.now(2000 + 10 * minute), []);
  });

  it('is another version that is new on the store, for what is left of ten minutes', () => {
    assert.deepEqual(new Doubts(null, 0).now(0), []);
    const doubts = new Doubts(4 * minute, 1000);
    assert.deepEqual(doubts.now(1000), ['upgrade']);
    assert.deepEqual(doubts.now(1000 + 6 * minute), []);
  });

  it('is an API that failed three times in a row, until it answers', () => {
    const doubts = new Doubts(null, 0);
    doubts.answered(false);
    doubts.answered(false);
    assert.deepEqual(doubts.now(0), []);
    doubts.answered(false);
    assert.deepEqual(doubts.now(0), ['api']);
    doubts.answered(true);
    assert.deepEqual(doubts.now(0), []);
  });
});
