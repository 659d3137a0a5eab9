import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { Flapping } from '../../../attest-server/attest/flapping.ts';
import type { ReasonCode } from '../../../attest-server/protocol/reasons.ts';
import type { NodeState } from '../../../attest-server/protocol/verdict.ts';
import { madeVerdict } from '../store/made-records.ts';

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

describe('which changes of a verdict have rows of their own (row 355)', () => {
  it('all, of a node that boots, is updated and boots again within minutes', () => {
    const flapping = new Flapping();
    for (let boot = 0; boot < 4; boot += 1)
      for (const state of ['pending', 'pending', 'trusted'] as const)
        assert.ok(change(flapping, changeTo(state), boot * minute));
    assert.deepEqual(flapping.names(4 * minute), []);
  });

  it('not those of one that changes each second: they wait for one row, which counts them', () => {
    const flapping = new Flapping();
    const had: boolean[] = [];
    for (let at = 0; at < 30; at += 1) {
      const next = changeTo(at % 2 === 0 ? 'trusted' : 'untrusted', 'cmdline_policy');
      had.push(change(flapping, next, at * second));
    }
    assert.deepEqual([had.indexOf(false), had.lastIndexOf(true)], [8, 7]);
    assert.deepEqual(flapping.due(60 * second), []);
    assert.deepEqual(flapping.due(68 * second), ['node-1']);
    assert.deepEqual(flapping.waiting('node-1', 68 * second), {
      flaps: { changes: 22, states: ['trusted', 'untrusted'], codes: ['cmdline_policy'] },
      since: 8 * second,
      from: 'untrusted',
      isToldAnew: true,
    });
    assert.deepEqual(flapping.names(68 * second), ['node-1']);
    assert.deepEqual(flapping.names(2 * hour), []);
  });

  it('the first by which it is untrusted, though its share is spent on what harms nobody, and it was refused before (row 356) (row 370)', () => {
    const flapping = new Flapping();
    let at = 0;
    while (change(flapping, changeTo('pending', 'rebooted', 40_000), at)) at += minute;
    assert.equal(flapping.hasRows('node-1', changeTo('trusted', 'rebooted', 40_000), at), false);
    // However often they could not be written.
    for (let turn = 0; turn < 3; turn += 1)
      assert.equal(flapping.hasRows('node-1', changeTo('untrusted', 'cmdline_policy', 40_000), at), true);
    assert.equal(change(flapping, changeTo('untrusted', 'cmdline_policy', 40_000), at), true);
    // And not again and again by other codes: that is in debt.
    assert.equal(flapping.hasRows('node-1', changeTo('untrusted', 'kernel_unknown', 40_000), at), false);
    assert.equal(
      flapping.hasRows('node-1', changeTo('untrusted', 'cmdline_policy', 40_000), at + 10 * minute),
      false,
    );
  });

  it('what is found against it anew, while it flaps and its share has room', () => {
    const flapping = new Flapping();
    for (let at = 0; at < 30; at += 1)
      change(flapping, changeTo(at % 2 === 0 ? 'trusted' : 'untrusted', 'cmdline_policy'), at * second);
    assert.equal(change(flapping, changeTo('untrusted', 'kernel_unknown'), 31 * second), true);
    assert.equal(flapping.hasRows('node-1', changeTo('untrusted', 'kernel_unknown'), 32 * second), false);
  });

  it('no more than its share holds, however slowly it changes, and whatever its rows take', () => {
    for (const every of [second, 20 * second, 61 * second])
      for (const bytes of [500, 9_000, 300_000]) {
        const flapping = new Flapping();
        let taken = 0;
        for (let at = 0, turn = 0; at < day; at += every, turn += 1) {
          const next = changeTo(turn % 2 === 0 ? 'trusted' : 'untrusted', 'cmdline_policy', bytes);
          if (change(flapping, next, at)) taken += bytes;
          for (const name of flapping.due(at))
            if (flapping.areDue(name, 600, at)) {
              taken += 600;
              flapping.written(name, { verdicts: [madeVerdict('trusted')], bytes: 600 }, at);
            }
        }
        assert.ok(taken <= 1.2 * 1024 * 1024 + bytes, `${taken} bytes of ${bytes} each ${every} ms`);
      }
  });

  it('have their row after ten minutes at the latest, though its share is spent', () => {
    const flapping = new Flapping();
    let at = 0;
    while (change(flapping, changeTo('pending', 'rebooted', 40_000), at)) at += second;
    // In debt for hours.
    assert.ok(change(flapping, changeTo('untrusted', 'cmdline_policy', 400_000), at));
    change(flapping, changeTo('trusted', 'rebooted', 40_000), at);
    const written: number[] = [];
    for (const end = at + hour; at < end; at += second)
      for (const name of flapping.due(at))
        if (flapping.areDue(name, 600, at)) {
          written.push(at);
          flapping.written(name, { verdicts: [madeVerdict('trusted')], bytes: 600 }, at);
          flapping.join(name, changeTo('untrusted', 'cmdline_policy'), at, at);
        }
    assert.deepEqual(written.length, 5);
    // An hourly row of equal verdicts is no such row.
    assert.equal(flapping.hasRoom('node-1', 600, at), false);
  });

  it('begins anew where nothing is known of the node any more', () => {
    const flapping = new Flapping();
    for (let at = 0; at < 30; at += 1) change(flapping, changeTo('untrusted', 'cmdline_policy'), at * second);
    flapping.forget('node-1');
    assert.equal(flapping.waiting('node-1', 31 * second), null);
    assert.equal(flapping.hasRows('node-1', changeTo('trusted'), 31 * second), true);
  });
});

function change(flapping: Flapping, next: ReturnType<typeof changeTo>, at: number): boolean {
  const isWhole = flapping.hasRows('node-1', next, at);
  if (isWhole) flapping.written('node-1', next, at);
  else flapping.join('node-1', next, at, at);
  return isWhole;
}

function changeTo(state: NodeState, code: ReasonCode = 'rebooted', bytes = 2_000) {
  return { verdicts: [madeVerdict(state, code)], from: null, bytes };
}
