import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { JudgingTime } from '../../../attest-server/attest/judging-time.ts';

const minute = 60_000;

/** With a clock that stands until a test moves it. */
function atStart(challengeEvery = minute) {
  let now = 0;
  const time = new JudgingTime(challengeEvery, () => now);
  const pass = (ms: number) => {
    now += ms;
  };
  /** How many of so many answers are judged; each takes so many milliseconds. */
  const judged = (node: string, times: number, took = 0) => {
    let count = 0;
    for (let i = 0; i < times; i++)
      try {
        time.admit(node, took);
        count += 1;
      } catch (error) {
        assert.equal((error as { code?: unknown }).code, 'too_large');
      }
    return count;
  };
  return { time, pass, judged };
}

describe('what judging a node may cost', () => {
  it('is sixty judgements at once, and one a second, whatever connections they come on (row 360)', () => {
    const { time, pass, judged } = atStart();
    assert.equal(time.wait('a'), 0);
    assert.equal(judged('a', 1_000), 60);
    assert.equal(time.wait('a'), 1_000);
    assert.equal(judged('b', 1), 1);
    pass(1_000);
    assert.equal(judged('a', 10), 1);
    pass(100 * minute);
    assert.equal(judged('a', 1_000), 60);
  });

  it('is two seconds of the thread at once, and ten milliseconds a second (row 360)', () => {
    const { time, pass, judged } = atStart();
    assert.equal(judged('a', 1_000, 50), 41);
    assert.equal(time.wait('a'), 5_000);
    pass(5_000);
    assert.equal(judged('a', 10, 50), 1);
  });

  it('has nobody asked less often than a silent node, however much one answer took', () => {
    const { time, pass, judged } = atStart();
    assert.equal(judged('a', 10, 1_000_000), 1);
    assert.equal(time.wait('a'), minute);
    pass(minute - 1);
    assert.equal(time.wait('a'), 1);
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
    const { time, judged } = atStart();
    judged('a', 1);
    assert.throws(() => time.charged('a', () => workFor(20, true)));
    const steps = time.chargedSteps('a', work());
    while (steps.next().done !== true) await new Promise((resolve) => setTimeout(resolve, 30));
    const spent = 2_000 - time.left('a');
    assert(spent >= 40, String(spent));
    assert.equal(time.left('b'), 2_000);
    time.forget('a');
    assert.equal(time.left('a'), 2_000);
    function* work(): Generator<void, void> {
      workFor(10);
      yield;
      workFor(10);
    }
  });

  it('has who cost a tenth of a second lately take turns with all that it sends (row 362)', () => {
    const { time, pass, judged } = atStart();
    judged('a', 1, 100);
    assert.equal(time.isBusy('a'), false);
    judged('a', 1, 1);
    assert.deepEqual([time.isBusy('a'), time.isBusy('b')], [true, false]);
    pass(100);
    judged('a', 1);
    assert.equal(time.isBusy('a'), false);
  });

  it('is charged to nobody of whom nothing is proven', () => {
    const { time } = atStart();
    time.charged('a', () => workFor(5));
    assert.equal(time.left('a'), 2_000);
    assert.equal(time.spent, 0);
  });
});

function workFor(ms: number, fails = false): void {
  for (const end = performance.now() + ms; performance.now() < end; );
  if (fails) throw new Error('made');
}
