import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { bootTimeOf } from '../../../attest-server/attest/boot-time.ts';
import type { Facts } from '../../../attest-server/wire/facts.ts';
import { madeProof } from '../policy/made-proof.ts';

const minute = 60_000;
const day = 1_440 * minute;
/** Of the answer that is judged. */
const at = 1_790_000_000_000;
/** Powered for a year before. */
const year = BigInt(365 * day);

const proof = madeProof({});
/** @param said milliseconds since the epoch; null: an agent of before, which says nothing */
function proven(said: number | null, clock = year) {
  const facts: Facts = {
    purpose: 'attest',
    node: 'node-1',
    bootId: '6f9619ff-8b86-d011-b42d-00cf4fc964ff',
    helloDigest: 'ab'.repeat(32),
    host: said === null ? {} : { bootTime: Math.floor(said / 1000) },
  };
  return { clock: { ...proof.clock, clock }, facts };
}

/** What was known before, of a node that proved itself a minute ago. */
const before = {
  bootSeenAt: at - 2 * day,
  bootedAfter: at - 3 * day,
  bootedAt: at - 2 * day - minute,
  resetCount: 7,
  verifiedAt: at - minute,
};

describe('when a boot began', () => {
  it('is what the node says, between its last proof of the boot before and its first one of this boot', () => {
    const said = at - 40_000;
    assert.deepEqual(bootTimeOf(proven(said), before, 'rebooted', at), {
      bootSeenAt: at,
      bootedAfter: at - minute,
      bootedAt: said,
    });
  });

  for (const [what, said, bootedAt] of [
    ['a little too early, by a clock that is a little off', at - 100_000, at - minute],
    ['a little too late', at + 30_000, at],
    ['long before it last proved another boot', at - day, null],
    ['in the future', at + day, null],
    ['in 1970, before its clock was set', 12_000, null],
    ['nothing, as an agent of before', null, null],
  ] as const)
    it(`is ${bootedAt === null ? 'not known' : 'within what is proven'} where it says ${what}`, () => {
      assert.equal(bootTimeOf(proven(said), before, 'rebooted', at).bootedAt, bootedAt);
    });

  it('is of the same boot what the node says now, and what it said where that can no longer be', () => {
    const said = before.bootSeenAt - 5_000;
    assert.deepEqual(bootTimeOf(proven(said), before, null, at), {
      bootSeenAt: before.bootSeenAt,
      bootedAfter: before.bootedAfter,
      bootedAt: said,
    });
    for (const impossible of [at - minute, 12_000, null])
      assert.equal(bootTimeOf(proven(impossible), before, null, at).bootedAt, before.bootedAt);
  });

  it('is learned in the middle of a boot, once its agent is a newer one or its clock is right', () => {
    const unknown = { ...before, bootedAfter: null, bootedAt: null };
    assert.equal(bootTimeOf(proven(before.bootSeenAt - day), unknown, null, at).bootedAt, at - 3 * day);
    assert.equal(bootTimeOf(proven(12_000), unknown, null, at).bootedAt, null);
  });

  it('is of a new node not longer ago than its TPM was powered', () => {
    const powered = BigInt(10 * minute);
    assert.equal(bootTimeOf(proven(at - 9 * minute, powered), null, null, at).bootedAt, at - 9 * minute);
    assert.equal(bootTimeOf(proven(at - day, powered), null, null, at).bootedAt, null);
  });

  it('is that of another boot after a person approved the TPM again: nobody saw what was in between', () => {
    const approved = { ...before, resetCount: null };
    const { bootSeenAt, bootedAt } = bootTimeOf(proven(at - minute), approved, null, at);
    assert.deepEqual([bootSeenAt, bootedAt], [at, at - minute]);
  });

  it('is never outside of what is proven, whatever the node says', () => {
    const moment = fc.integer({ min: 0, max: 4_294_967_295_000 });
    fc.assert(
      fc.property(fc.array(fc.tuple(moment, fc.boolean()), { minLength: 1, maxLength: 6 }), (answers) => {
        let known: Parameters<typeof bootTimeOf>[1] = null;
        for (const [index, [said, isReboot]] of answers.entries()) {
          const now = at + index * minute;
          const next = bootTimeOf(proven(said), known, isReboot && known !== null ? 'rebooted' : null, now);
          if (next.bootedAt !== null) {
            assert.ok(next.bootedAt >= (next.bootedAfter ?? 0));
            assert.ok(next.bootedAt <= (next.bootSeenAt ?? 0));
          }
          known = { ...next, resetCount: 7, verifiedAt: now };
        }
      }),
    );
  });
});
