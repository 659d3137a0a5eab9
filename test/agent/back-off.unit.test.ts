import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { backOff } from '../../agent/back-off.ts';

describe('the back-off', () => {
  for (const [failures, most] of [
    [0, 250],
    [1, 500],
    [6, 16_000],
    [7, 30_000],
    [1_000_000, 30_000],
  ] as const)
    it(`waits between nothing and ${most} ms after ${failures} failures`, () => {
      assert.equal(
        backOff(failures, () => 0),
        0,
      );
      assert.equal(
        backOff(failures, () => 0.5),
        most / 2,
      );
      assert(backOff(failures, () => 1 - Number.EPSILON) <= most);
    });
});
