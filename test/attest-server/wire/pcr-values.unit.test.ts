import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type PcrValues, pcrCount, pcrsOf, pcrValue } from '../../../attest-server/wire/pcr-values.ts';

describe('values of some PCRs', () => {
  const values = Buffer.concat([1, 4, 23].map((pcr) => Buffer.alloc(32, pcr)));
  const held: PcrValues = { bank: 'sha256', mask: (1 << 1) | (1 << 4) | (1 << 23), values };

  it('are found by their number, and none that is not held', () => {
    for (let pcr = 0; pcr < 24; pcr++)
      assert.deepEqual(pcrValue(held, pcr), [1, 4, 23].includes(pcr) ? Buffer.alloc(32, pcr) : null);
  });

  it('are none where the bytes end before them', () =>
    assert.equal(pcrValue({ ...held, values: values.subarray(0, 95) }, 23), null));

  it('are counted and listed by their mask', () => {
    assert.deepEqual(pcrsOf(held.mask), [1, 4, 23]);
    assert.deepEqual([0, held.mask, 0xffffff, 0x7fffffff].map(pcrCount), [0, 3, 24, 31]);
    for (let mask = 0; mask < 0x1000000; mask += 0x3b5) assert.equal(pcrCount(mask), pcrsOf(mask).length);
  });
});
