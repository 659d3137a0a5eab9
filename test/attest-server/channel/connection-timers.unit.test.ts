import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, it } from 'mocha';
import { ConnectionTimers } from '../../../attest-server/channel/connection-timers.ts';
import { TimerWheel } from '../../../attest-server/channel/timer-wheel.ts';

const now = () => performance.now();

describe('the timers of all connections', () => {
  it('wake each sleeper once, never before its time', async () => {
    const wheel = new TimerWheel(now);
    const early: number[] = [];
    const woken: number[] = [];
    for (const after of [40, 3, 250, 41, 0, 12, -5]) {
      const time = now() + after;
      const wake = (at: number) => {
        if (at < time) early.push(after);
        woken.push(after);
      };
      wheel.at(time, { wake });
    }
    await sleep(400);
    assert.deepEqual(early, []);
    assert.deepEqual(woken.toSorted(), [-5, 0, 12, 250, 3, 40, 41]);
    assert.equal(woken.at(-1), 250);
  });

  it('may be set again by whoever is woken', async () => {
    const wheel = new TimerWheel(now);
    let times = 0;
    const wake = () => {
      times += 1;
      if (times < 4) wheel.at(now(), { wake });
    };
    wheel.at(now(), { wake });
    await sleep(100);
    assert.equal(times, 4);
  });
});

describe('the timers of a connection', () => {
  it('tells of a deadline that passed, and of a challenge that is due', async () => {
    const { timers, said } = made();
    timers.within(20, 'late');
    timers.challengeAfter(60);
    await sleep(120);
    assert.deepEqual(said, ['late', 'challenge']);
  });

  it('forgets both once an answer came, and keeps to a deadline that was put off', async () => {
    const { timers, said } = made();
    timers.within(20, 'late');
    timers.challengeAfter(20);
    timers.answered();
    await sleep(60);
    assert.deepEqual(said, []);
    timers.within(20, 'late');
    timers.within(120, 'later');
    await sleep(80);
    assert.deepEqual(said, []);
    await sleep(100);
    assert.deepEqual(said, ['later']);
  });

  it('takes an earlier time than the one that is set', async () => {
    const { timers, said } = made();
    timers.challengeAfter(10_000);
    timers.challengeAfter(10);
    await sleep(60);
    assert.deepEqual(said, ['challenge']);
  });

  it('moves a challenge forward where it is wanted sooner, and never puts it off', async () => {
    const { timers, said } = made();
    timers.challengeAfter(40);
    timers.challengeWithin(10_000);
    await sleep(80);
    assert.deepEqual(said, ['challenge']);
    timers.challengeAfter(10_000);
    timers.challengeWithin(20);
    await sleep(60);
    assert.deepEqual(said, ['challenge', 'challenge']);
  });

  it('says nothing once the connection is gone', async () => {
    const { timers, said } = made();
    timers.within(10, 'late');
    timers.challengeAfter(10);
    timers.end();
    await sleep(50);
    assert.deepEqual(said, []);
  });
});

function made() {
  const said: string[] = [];
  const duties = {
    tooLate: (text: string) => said.push(text),
    challenge: () => said.push('challenge'),
    beat: () => said.push('beat'),
  };
  return { timers: new ConnectionTimers(duties, new TimerWheel(now), now, 30_000), said };
}
