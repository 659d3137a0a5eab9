import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { isConcurrent } from '../../../attest-server/attest/node-sequence.ts';

const before = { verifiedAt: 1_000_000, clock: 50_000_000n };
const agoOf = (challengedAt: number, clock: bigint) => isConcurrent(before, { challengedAt, clock });

describe('an answer to a challenge that is older than the verdict before', () => {
  it('may show a clock that is older by the time between the two, and by no more', () => {
    assert.equal(agoOf(999_000, 49_999_100n), true);
    assert.equal(agoOf(999_000, 49_995_000n), false);
    // Attack: a cloned machine that always answers just after its twin, minutes behind it.
    assert.equal(agoOf(999_999, 49_700_000n), false);
  });

  it('is none where the challenge came after the verdict, or nothing was seen before', () => {
    assert.equal(agoOf(1_000_000, 49_999_999n), false);
    assert.equal(isConcurrent(null, { challengedAt: 0, clock: 1n }), false);
    assert.equal(
      isConcurrent({ verifiedAt: 1_000_000, clock: null }, { challengedAt: 999_000, clock: 1n }),
      true,
    );
  });
});
