import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { JudgingRates, JudgingTime } from '../../../attest-server/attest/judging-time.ts';

const minute = 60_000;

/** With a clock that stands until a test moves it. */
function atStart(challengeEvery = minute) {
  let now = 0;
  const rates = new JudgingRates(challengeEvery, () => now);
  const times = new Map<string, JudgingTime>();
  const of = (node: string) => {
    const time = times.get(node) ?? new JudgingTime(node, rates);
    times.set(node, time);
    return time;
  };
  const pass = (ms: number) => {
    now += ms;
  };
  /** How many of so many answers are judged; each takes so many milliseconds. */
  const judged = (node: string, times: number, took = 0) => {
    let count = 0;
    for (let i = 0; i < times; i++)
      try {
        of(node).admit(took);
        count += 1;
      } catch (error) {
        assert.equal((error as { code?: unknown }).code, 'too_large');
      }
    return count;
  };
  return { of, pass, judged };
}

describe('what judging a node may cost', () => {
  it('is sixty judgements at once, and one a second, whatever connections they come on (row 360)', () => {
    const { of, pass, judged } = atStart();
    assert.equal(of('a').wait, 0);
    assert.equal(judged('a', 1_000), 60);
    assert.equal(of('a').wait, 1_000);
    assert.equal(judged('b', 1), 1);
    pass(1_000);
    assert.equal(judged('a', 10), 1);
    pass(100 * minute);
    assert.equal(judged('a', 1_000), 60);
  });

  it('is two seconds of the thread at once, and ten milliseconds a second (row 360)', () => {
    const { of, pass, judged } = atStart();
    assert.equal(judged('a', 1_000, 50), 41);
    assert.equal(of('a').wait, 5_000);
    pass(5_000);
    assert.equal(judged('a', 10, 50), 1);
  });

  it('has nobody asked less often than a silent node, however much one answer took', () => {
    const { of, pass, judged } = atStart();
    assert.equal(judged('a', 10, 1_000_000), 1);
    assert.equal(of('a').wait, minute);
    pass(minute - 1);
    assert.equal(of('a').wait, 1);
    pass(1);
    assert.equal(judged('a', 10, 1_000_000), 1);
  });

  it('leaves an agent that starts again ten times a minute all that it needs (row 365)', () => {
    const { pass, judged } = atStart();
    for (let at = 0; at < 60; at++) {
      assert.equal(judged('a', 2, 3), 2);
      pass(minute / 10);
    }
  });

  it('leaves a first log of 16,000 events, and a list of files, on a machine four times as slow', () => {
    const { judged } = atStart();
    assert.equal(judged('a', 12, 160), 12);
  });

  it('grows with how often the server asks', () => {
    const { pass, judged } = atStart(200);
    for (let at = 0; at < 1_000; at++) {
      assert.equal(judged('a', 1, 5), 1);
      pass(200);
    }
  });

  it('is charged while it is worked, also in steps and where that fails, and without what comes in between', async () => {
    const { of, judged } = atStart();
    judged('a', 1);
    assert.throws(() => of('a').charged(() => workFor(20, true)));
    const steps = of('a').chargedSteps(work());
    while (steps.next().done !== true) await new Promise((resolve) => setTimeout(resolve, 30));
    const spent = 2_000 - of('a').left;
    assert(spent >= 40, String(spent));
    assert.equal(of('b').left, 2_000);
    function* work(): Generator<void, void> {
      workFor(10);
      yield;
      workFor(10);
    }
  });

  it('has who cost a tenth of a second lately take turns with all that it sends (row 362)', () => {
    const { of, pass, judged } = atStart();
    judged('a', 1, 100);
    assert.equal(of('a').isBusy, false);
    judged('a', 1, 1);
    assert.deepEqual([of('a').isBusy, of('b').isBusy], [true, false]);
    pass(100);
    judged('a', 1);
    assert.equal(of('a').isBusy, false);
  });
});

function workFor(ms: number, fails = false): void {
  for (const end = performance.now() + ms; performance.now() < end; );
  if (fails) throw new Error('made');
}
