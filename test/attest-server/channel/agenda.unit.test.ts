import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, it } from 'mocha';
import { Agenda } from '../../../attest-server/channel/agenda.ts';
import { Alarms } from '../../../attest-server/channel/alarms.ts';

const now = () => performance.now();

describe('the alarms of all connections', () => {
  it('wake each sleeper once, never before its time', async () => {
    const alarms = new Alarms(now);
    const early: number[] = [];
    const woken: number[] = [];
    for (const after of [40, 3, 250, 41, 0, 12, -5]) {
      const time = now() + after;
      const wake = (at: number) => {
        if (at < time) early.push(after);
        woken.push(after);
      };
      alarms.at(time, { wake });
    }
    await sleep(400);
    assert.deepEqual(early, []);
    assert.deepEqual(woken.toSorted(), [-5, 0, 12, 250, 3, 40, 41]);
    assert.equal(woken.at(-1), 250);
  });

  it('may be set again by whoever is woken', async () => {
    const alarms = new Alarms(now);
    let times = 0;
    const wake = () => {
      times += 1;
      if (times < 4) alarms.at(now(), { wake });
    };
    alarms.at(now(), { wake });
    await sleep(100);
    assert.equal(times, 4);
  });
});

describe('the agenda of a connection', () => {
  it('tells of a deadline that passed, and of a challenge that is due', async () => {
    const { agenda, said } = made();
    agenda.within(20, 'late');
    agenda.challengeAfter(60);
    await sleep(120);
    assert.deepEqual(said, ['late', 'challenge']);
  });

  it('forgets both once an answer came, and keeps to a deadline that was put off', async () => {
    const { agenda, said } = made();
    agenda.within(20, 'late');
    agenda.challengeAfter(20);
    agenda.answered();
    await sleep(60);
    assert.deepEqual(said, []);
    agenda.within(20, 'late');
    agenda.within(120, 'later');
    await sleep(80);
    assert.deepEqual(said, []);
    await sleep(100);
    assert.deepEqual(said, ['later']);
  });

  it('takes an earlier time than the one that is set', async () => {
    const { agenda, said } = made();
    agenda.challengeAfter(10_000);
    agenda.challengeAfter(10);
    await sleep(60);
    assert.deepEqual(said, ['challenge']);
  });

  it('moves a challenge forward where it is wanted sooner, and never puts it off', async () => {
    const { agenda, said } = made();
    agenda.challengeAfter(40);
    agenda.challengeWithin(10_000);
    await sleep(80);
    assert.deepEqual(said, ['challenge']);
    agenda.challengeAfter(10_000);
    agenda.challengeWithin(20);
    await sleep(60);
    assert.deepEqual(said, ['challenge', 'challenge']);
  });

  it('says nothing once the connection is gone', async () => {
    const { agenda, said } = made();
    agenda.within(10, 'late');
    agenda.challengeAfter(10);
    agenda.end();
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
  return { agenda: new Agenda(duties, new Alarms(now), now), said };
}
