import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'mocha';
import { ApiBackOff } from '../../../attest-server/marking/api-back-off.ts';
import { ClusterError } from '../../../attest-server/marking/ports.ts';

const kinds = ['marks', 'lists', 'resources', 'events'] as const;
const away = new ClusterError('unreachable', 'no answer');
const busy = (ms: number) => new ClusterError('too_many', 'slow down', ms);

describe('the back-off towards the API', () => {
  let at = 0;
  let backOff: ApiBackOff;
  beforeEach(() => {
    at = 0;
    backOff = new ApiBackOff({ monotonic: () => at, random: () => 0.5 });
  });
  const waits = () => kinds.map((kind) => Math.max(0, backOff.opensAt(kind) - at));

  it('leaves the API alone with all that it writes for as long as it asks of marks', () => {
    backOff.failed('marks', busy(5000), null);
    assert.deepEqual(waits(), [5000, 5000, 5000, 5000]);
    at = 5000;
    assert.ok(kinds.every((kind) => backOff.isOpen(kind)));
  });

  it('holds up no mark by what the API asks of resources', () => {
    backOff.failed('resources', busy(5000), null);
    assert.deepEqual(waits(), [0, 0, 5000, 0]);
  });

  it('believes nobody who asks for more than ten minutes', () => {
    backOff.failed('events', busy(86_400_000), null);
    assert.deepEqual(waits(), [0, 0, 0, 600_000]);
  });

  it('waits twice as long each time without an answer, a minute at most, and begins anew after one', () => {
    const taken = Array.from({ length: 8 }, () => {
      backOff.failed('resources', away, null);
      const [, , wait = 0] = waits();
      at += wait;
      return wait / 1000;
    });
    assert.deepEqual(taken, [1, 2, 4, 8, 16, 32, 60, 60]);
    backOff.answered('resources');
    backOff.failed('resources', away, null);
    assert.equal(waits()[2], 1000);
  });

  it('has marks wait from the third failure in a row on', () => {
    const taken = Array.from({ length: 4 }, () => {
      backOff.failed('marks', away, null);
      const [wait = 0] = waits();
      at += wait;
      return wait;
    });
    assert.deepEqual(taken, [0, 0, 1000, 2000]);
  });

  it('counts requests once that were under way together, whatever the API asks of each', () => {
    for (let request = 0; request < 8; request++) backOff.failed('marks', away, null);
    assert.equal(waits()[0], 1000);
    at = 1000;
    for (let request = 0; request < 8; request++) backOff.failed('resources', busy(3000), null);
    assert.equal(waits()[2], 3000);
    assert.equal(backOff.failuresOf('resources'), 1);
    backOff.answered('marks');
    for (let request = 0; request < 8; request++) backOff.failed('marks', busy(2000 + request), null);
    assert.deepEqual([waits()[0], backOff.failuresOf('marks')], [2007, 1]);
  });

  it('takes refusals for a matter of all where a tenth is refused and none is accepted', () => {
    const refused = (name: string) =>
      backOff.failed('resources', new ClusterError('invalid', 'no'), { name, all: 50 });
    assert.deepEqual(['a', 'a', 'b', 'c', 'd'].map(refused), [false, false, false, false, false]);
    assert.equal(refused('e'), true);
    assert.equal(waits()[2], 1000);
    backOff.accepted('resources');
    assert.equal(refused('a'), false);
  });

  it('takes no conflict of one Node for a fault of the API', () => {
    const conflict = new ClusterError('conflict', 'it is another');
    for (let i = 0; i < 50; i++)
      assert.equal(backOff.failed('marks', conflict, { name: `${i}`, all: 50 }), false);
    assert.deepEqual(waits(), [0, 0, 0, 0]);
  });
});
