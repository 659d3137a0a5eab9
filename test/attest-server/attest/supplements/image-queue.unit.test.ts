import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { ImageQueue } from '../../../../attest-server/attest/supplements/image-queue.ts';

const minute = 60_000;

describe('the queue of initrds that nodes send', () => {
  let queue: ImageQueue;
  let now = 0;
  let called: string[];
  beforeEach(() => {
    now = 0;
    called = [];
    open({});
  });
  afterEach(() => queue.close());

  function open({ patience = minute }): void {
    queue = new ImageQueue({
      atOnce: 2,
      patience,
      aliveFor: 3 * minute,
      monotonic: () => now,
      called: (node) => called.push(node),
    });
  }

  const is = (node: string, digest: string) => queue.standing(node, digest)?.is ?? null;

  it('has two nodes send at a time, and the others wait with their place, in the order in which they came', () => {
    for (const which of [1, 2, 3, 4, 5]) queue.waits(`node-${which}`, [`image-${which}`]);
    assert.deepEqual(called, ['node-1', 'node-2']);
    assert.deepEqual(queue.standing('node-3', 'image-3'), { is: 'waiting', place: 1, of: 3 });
    assert.deepEqual(queue.standing('node-5', 'image-5'), { is: 'waiting', place: 3, of: 3 });
    queue.done('image-2');
    assert.deepEqual(called, ['node-1', 'node-2', 'node-3']);
    assert.deepEqual(queue.standing('node-5', 'image-5'), { is: 'waiting', place: 2, of: 2 });
  });

  it('has an image sent by one of the nodes that booted it, and by the next one where that fails', () => {
    for (const which of [1, 2]) queue.waits(`node-${which}`, ['image']);
    assert.deepEqual(called, ['node-1']);
    assert.deepEqual(queue.standing('node-2', 'image'), { is: 'shared', by: 'node-1' });
    queue.failed('node-1', 'image', 'it has none');
    assert.deepEqual(called, ['node-1', 'node-2']);
    assert.equal(is('node-1', 'image'), 'failed');
    queue.done('image');
    assert.equal(queue.standing('node-1', 'image'), null);
  });

  it('leaves a node that failed alone for a minute, then for two, up to an hour', () => {
    queue.waits('node', ['image']);
    for (const pause of [1, 2, 4, 8, 16, 32, 60, 60]) {
      assert.equal(queue.turnOf('node'), 'image');
      queue.failed('node', 'image', 'no');
      now += pause * minute - 1;
      queue.waits('node', ['image']);
      assert.equal(queue.turnOf('node'), null, `${pause} minutes`);
      now += 1;
      queue.waits('node', ['image']);
    }
  });

  it('gives the place of a node that dies to the next, and gives it one again once it is heard of', async () => {
    open({ patience: 5 });
    for (const which of [1, 2, 3]) queue.waits(`node-${which}`, [`image-${which}`]);
    while (called.length < 3) await setTimeout(5);
    assert.ok(called.includes('node-3'));
    await setTimeout(30);
    assert.deepEqual(called, ['node-1', 'node-2', 'node-3'], 'nobody who is silent is called again');
    queue.waits('node-1', ['image-1']);
    assert.deepEqual(called.slice(3), ['node-1']);
  });

  /** The node whose turn it is sends so many bytes a second for so long. */
  function sends(digest: string, perSecond: number, seconds: number): void {
    for (let each = 0; each < seconds; each += 10) {
      now += 10_000;
      queue.moved(digest, perSecond * 10);
    }
  }
  const kib = 1024;

  it('leaves a slow node its place as long as nobody waits, and ends its turn early once somebody does (row 368)', () => {
    for (const which of [1, 2]) queue.waits(`node-${which}`, [`image-${which}`]);
    sends('image-1', 1, 600);
    sends('image-2', 1, 600);
    assert.deepEqual(
      [queue.turnOf('node-1'), queue.turnOf('node-2')],
      ['image-1', 'image-2'],
      'nobody waits',
    );
    queue.waits('node-3', ['image-3']);
    for (const which of [1, 2]) queue.waits(`node-${which}`, [`image-${which}`]);
    // One place stays with the slow: it gives up, and nobody who is slow waits for that one.
    queue.moved('image-1', 1);
    assert.deepEqual([queue.turnOf('node-1'), queue.turnOf('node-3')], ['image-1', null]);
    queue.moved('image-2', 1);
    assert.deepEqual([queue.turnOf('node-2'), queue.turnOf('node-3')], [null, 'image-3']);
    assert.deepEqual(queue.standing('node-2', 'image-2'), { is: 'waiting', place: 1, of: 1 });
  });

  it('ends a turn after two minutes while others wait, however quick it is', () => {
    for (const which of [1, 2, 3]) queue.waits(`node-${which}`, [`image-${which}`]);
    sends('image-1', 10_000 * kib, 110);
    sends('image-2', 10_000 * kib, 10);
    assert.equal(queue.turnOf('node-1'), 'image-1');
    queue.waits('node-3', ['image-3']);
    queue.moved('image-2', 1);
    queue.moved('image-1', 1);
    // One of them has the place of the slow now; the other one gives its own to who waits.
    assert.deepEqual(
      [queue.turnOf('node-1'), queue.turnOf('node-2'), queue.turnOf('node-3')],
      [null, 'image-2', 'image-3'],
    );
  });

  it('puts all images of a node that gave up behind those of others, also of who came later (row 368)', () => {
    const four = [1, 2, 3, 4].map((which) => `image-${which}`);
    const [attacker, other] = [four, four.map((name) => `other-${name}`)];
    queue.waits('attacker', attacker);
    queue.waits('other', other);
    queue.waits('late', ['image']);
    sends('image-1', 1, 30);
    sends('other-image-1', 1, 30);
    assert.equal(queue.turnOf('late'), 'image');
    queue.waits('latest', ['image-of-latest']);
    queue.done('image');
    assert.equal(queue.turnOf('latest'), 'image-of-latest');
  });

  it('has one turn of each node at a time, though it sends all of each image', () => {
    queue.waits('node-1', ['a', 'b', 'c']);
    queue.waits('node-2', ['d', 'e', 'f']);
    queue.waits('node-3', ['g']);
    queue.done('a');
    assert.equal(queue.turnOf('node-3'), 'g');
  });

  it('has the next node of the same image go on once the turn of one that is slow is over', () => {
    for (const which of [1, 2]) queue.waits(`node-${which}`, ['image']);
    sends('image', 1, 30);
    assert.deepEqual([queue.turnOf('node-1'), queue.turnOf('node-2')], [null, 'image']);
    // Nobody else is there any more.
    now += 20 * minute;
    queue.moved('image', 1);
    assert.deepEqual([queue.turnOf('node-1'), queue.turnOf('node-2')], [null, 'image']);
  });

  it('calls no node that was not heard of for long, and one node for one image at a time', () => {
    queue.waits('node-1', ['image-1', 'image-2']);
    assert.deepEqual([called, is('node-1', 'image-2')], [['node-1'], 'waiting']);
    for (const which of [3, 4, 5]) queue.waits(`node-${which}`, [`image-${which}`]);
    now += 4 * minute;
    queue.waits('node-5', ['image-5']);
    queue.done('image-3');
    assert.deepEqual(called, ['node-1', 'node-3', 'node-5']);
  });

  it('forgets what a node does not have any more', () => {
    queue.waits('node', ['image']);
    queue.waits('node', ['other']);
    assert.deepEqual([queue.standing('node', 'image'), queue.turnOf('node')], [null, 'other']);
    queue.waits('node', []);
    assert.equal(queue.turnOf('node'), null);
  });
});
