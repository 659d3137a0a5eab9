import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, it } from 'mocha';
import { PendingChanges } from '../../agent/changes.ts';

describe('what changed on a node', () => {
  it('is told three times at once, then once a second, and the last one is never lost', async () => {
    const changes = new PendingChanges();
    const told: string[] = [];
    const disconnect = changes.connect((what) => told.push(what));
    for (let count = 1; count <= 10; count++) changes.note(`change ${count}`);
    assert.deepEqual(told, ['change 1', 'change 2', 'change 3']);
    await sleep(900);
    assert.equal(told.length, 3);
    await sleep(250);
    assert.deepEqual(told.slice(3), ['change 10']);
    await sleep(1_100);
    assert.equal(told.length, 4);
    disconnect();
  });

  it('while nobody hears it is told to the next who does, once', () => {
    const changes = new PendingChanges();
    for (let count = 1; count <= 5; count++) changes.note(`change ${count}`);
    const told: string[] = [];
    changes.connect((what) => told.push(what))();
    changes.note('change 6');
    assert.deepEqual(told, ['change 5']);
    changes.connect((what) => told.push(what))();
    changes.connect((what) => told.push(what))();
    assert.deepEqual(told, ['change 5', 'change 6']);
  });

  it('waits out its rate over a lost connection', async () => {
    const changes = new PendingChanges();
    const told: string[] = [];
    const disconnect = changes.connect((what) => told.push(what));
    for (let count = 1; count <= 4; count++) changes.note(`change ${count}`);
    disconnect();
    await sleep(1_100);
    assert.equal(told.length, 3);
    const again = changes.connect((what) => told.push(what));
    assert.deepEqual(told.slice(3), ['change 4']);
    again();
  });
});
