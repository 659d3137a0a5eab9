import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { Flapping } from '../../../attest-server/attest/flapping.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
import type { NodeState } from '../../../attest-server/wire/verdict.ts';
import { madeVerdict } from '../store/made-records.ts';

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

describe('which changes of a verdict have rows of their own (row 355)', () => {
  it('all, of a node that boots, is updated and boots again within minutes', () => {
    const flapping = new Flapping(0);
    for (let boot = 0; boot < 4; boot += 1)
      for (const state of ['pending', 'pending', 'trusted'] as const)
        assert.ok(change(flapping, changeTo(state), boot * minute));
    assert.equal(flapping.isFlapping(4 * minute), false);
  });

  it('not those of one that changes each second: they wait for one row, which counts them', () => {
    const flapping = new Flapping(0);
    const had: boolean[] = [];
    for (let at = 0; at < 30; at += 1) {
      const next = changeTo(at % 2 === 0 ? 'trusted' : 'untrusted', 'cmdline_policy');
      had.push(change(flapping, next, at * second));
    }
    assert.deepEqual([had.indexOf(false), had.lastIndexOf(true)], [8, 7]);
    assert.equal(flapping.isDue(60 * second), false);
    assert.equal(flapping.isDue(68 * second), true);
    assert.deepEqual(flapping.waiting(68 * second), {
      flaps: { changes: 22, states: ['trusted', 'untrusted'], codes: ['cmdline_policy'] },
      since: 8 * second,
      from: 'untrusted',
      isToldAnew: true,
    });
    assert.equal(flapping.isFlapping(68 * second), true);
    assert.equal(flapping.isFlapping(2 * hour), false);
  });

  it('the first by which it is untrusted, though its share is spent on what harms nobody, and it was refused before (row 356) (row 370)', () => {
    const flapping = new Flapping(0);
    let at = 0;
    while (change(flapping, changeTo('pending', 'rebooted', 40_000), at)) at += minute;
    assert.equal(flapping.hasRows(changeTo('trusted', 'rebooted', 40_000), at), false);
    // However often they could not be written.
    for (let turn = 0; turn < 3; turn += 1)
      assert.equal(flapping.hasRows(changeTo('untrusted', 'cmdline_policy', 40_000), at), true);
    assert.equal(change(flapping, changeTo('untrusted', 'cmdline_policy', 40_000), at), true);
    // And not again and again by other codes: that is in debt.
    assert.equal(flapping.hasRows(changeTo('untrusted', 'kernel_unknown', 40_000), at), false);
    assert.equal(flapping.hasRows(changeTo('untrusted', 'cmdline_policy', 40_000), at + 10 * minute), false);
  });

  it('what is found against it anew, while it flaps and its share has room', () => {
    const flapping = new Flapping(0);
    for (let at = 0; at < 30; at += 1)
      change(flapping, changeTo(at % 2 === 0 ? 'trusted' : 'untrusted', 'cmdline_policy'), at * second);
    assert.equal(change(flapping, changeTo('untrusted', 'kernel_unknown'), 31 * second), true);
    assert.equal(flapping.hasRows(changeTo('untrusted', 'kernel_unknown'), 32 * second), false);
  });

  it('no more than its share holds, however slowly it changes, and whatever its rows take', () => {
    for (const every of [second, 20 * second, 61 * second])
      for (const bytes of [500, 9_000, 300_000]) {
        const flapping = new Flapping(0);
        let taken = 0;
        for (let at = 0, turn = 0; at < day; at += every, turn += 1) {
          const next = changeTo(turn % 2 === 0 ? 'trusted' : 'untrusted', 'cmdline_policy', bytes);
          if (change(flapping, next, at)) taken += bytes;
          if (flapping.isDue(at) && flapping.areDue(600, at)) {
            taken += 600;
            flapping.written({ verdicts: [madeVerdict('trusted')], bytes: 600 }, at);
          }
        }
        assert.ok(taken <= 1.2 * 1024 * 1024 + bytes, `${taken} bytes of ${bytes} each ${every} ms`);
      }
  });

  it('have their row after ten minutes at the latest, though its share is spent', () => {
    const flapping = new Flapping(0);
    let at = 0;
    while (change(flapping, changeTo('pending', 'rebooted', 40_000), at)) at += second;
    // In debt for hours.
    assert.ok(change(flapping, changeTo('untrusted', 'cmdline_policy', 400_000), at));
    change(flapping, changeTo('trusted', 'rebooted', 40_000), at);
    const written: number[] = [];
    for (const end = at + hour; at < end; at += second)
      if (flapping.isDue(at) && flapping.areDue(600, at)) {
        written.push(at);
        flapping.written({ verdicts: [madeVerdict('trusted')], bytes: 600 }, at);
        flapping.join(changeTo('untrusted', 'cmdline_policy'), at, at);
      }
    assert.deepEqual(written.length, 5);
    // An hourly row of equal verdicts is no such row.
    assert.equal(flapping.hasRoom(600, at), false);
  });
});

function change(flapping: Flapping, next: ReturnType<typeof changeTo>, at: number): boolean {
  const isWhole = flapping.hasRows(next, at);
  if (isWhole) flapping.written(next, at);
  else flapping.join(next, at, at);
  return isWhole;
}

function changeTo(state: NodeState, code: ReasonCode = 'rebooted', bytes = 2_000) {
  return { verdicts: [madeVerdict(state, code)], from: null, bytes };
}
