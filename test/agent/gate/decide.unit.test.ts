import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type Decision, decide, type GateStatus, type KeptOrder } from '../../../agent/gate/decide.ts';
import { exitCodeOf } from '../../../agent/gate/exit-code.ts';
import type { GateOrder } from '../../../attest-server/wire/gate.ts';

const start = 1_000;
const waiting: GateStatus = {
  since: start,
  order: null,
  kept: null,
  askedInVain: false,
  operator: null,
  timeout: null,
};
const enforce: GateOrder = {
  mode: 'enforce',
  proven: false,
  codes: ['kernel_unknown'],
  timeout: null,
  onTimeout: 'hold',
};
const kept = (change: Partial<KeptOrder> = {}): KeptOrder => ({
  mode: 'enforce',
  timeout: null,
  onTimeout: 'hold',
  ...change,
});
const atMost = { timeout: 60, onTimeout: 'open' } as const;
const wait = (until: number | null, after: 'hold' | 'open' = 'hold'): Decision => ({
  do: 'wait',
  until,
  after,
});
const day = 86_400_000;

describe('a gate', () => {
  const cases: readonly (readonly [string, Partial<GateStatus>, now: number, Decision])[] = [
    ['waits without end where nobody says anything', {}, start + 30 * day, wait(null)],
    ['waits while a server cannot be reached', { askedInVain: true }, start + day, wait(null)],
    ['waits while its boot is not proven', { order: enforce }, start + day, wait(null)],
    [
      'opens where identity and boot are affirmed',
      { order: { ...enforce, proven: true } },
      start,
      { do: 'open', why: 'affirmed' },
    ],
    [
      'opens in mode observe, whatever is proven',
      { order: { ...enforce, mode: 'observe' } },
      start,
      { do: 'open', why: 'observe' },
    ],
    ['waits in mode label, too', { order: { ...enforce, mode: 'label' } }, start, wait(null)],
    [
      'opens for an operator before all else',
      { operator: '', order: { ...enforce, proven: true } },
      start,
      { do: 'open', why: 'operator' },
    ],
    [
      'looks for a server for a moment, where the last word was observe',
      { kept: kept({ mode: 'observe' }) },
      start + 14_999,
      wait(start + 15_000, 'open'),
    ],
    [
      'opens by that word once it has looked',
      { kept: kept({ mode: 'observe' }) },
      start + 15_000,
      { do: 'open', why: 'kept' },
    ],
    [
      'opens by that word as soon as no server answers',
      { kept: kept({ mode: 'observe' }), askedInVain: true },
      start,
      { do: 'open', why: 'kept' },
    ],
    [
      'goes by what is said now, not by what was',
      { kept: kept({ mode: 'observe' }), askedInVain: true, order: enforce },
      start + day,
      wait(null),
    ],
    [
      'waits for as long as the policy says',
      { order: { ...enforce, ...atMost } },
      60_999,
      wait(61_000, 'open'),
    ],
    [
      'opens then, where the policy says so',
      { order: { ...enforce, ...atMost } },
      61_000,
      { do: 'open', why: 'timeout' },
    ],
    ['holds then, where it does not', { order: { ...enforce, timeout: 60 } }, 61_000, { do: 'hold' }],
    [
      'goes by the policy of before while no server answers',
      { kept: kept(atMost), askedInVain: true },
      61_000,
      { do: 'open', why: 'timeout' },
    ],
    [
      'goes by the policy of now once one does',
      { kept: kept(atMost), order: enforce },
      start + day,
      wait(null),
    ],
    ['holds after the time that its machine sets', { timeout: 5_000 }, 6_000, { do: 'hold' }],
    [
      'holds, and never opens, by the time of its machine',
      { timeout: 5_000, order: { ...enforce, ...atMost } },
      6_000,
      { do: 'hold' },
    ],
    [
      'opens by the time of the policy where that is over first',
      { timeout: 120_000, order: { ...enforce, ...atMost } },
      61_000,
      { do: 'open', why: 'timeout' },
    ],
  ];
  for (const [title, change, now, expected] of cases)
    it(title, () => assert.deepEqual(decide({ ...waiting, ...change }, now), expected));

  it('ends with a number for each way in which it may end', () => {
    assert.equal(exitCodeOf({ do: 'hold' }), 12);
    const codes = (['affirmed', 'observe', 'kept', 'operator', 'timeout'] as const).map((why) =>
      exitCodeOf({ do: 'open', why }),
    );
    assert.deepEqual(codes, [0, 0, 0, 20, 21]);
  });
});
