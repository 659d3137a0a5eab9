import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { SystemUuids } from '../../../attest-server/attest/system-uuids.ts';

const one = '4c4c4544-0042-3510-8052-b4c04f4d5132';
const two = '4c4c4544-0042-3510-8052-b4c04f4d5133';

describe('the system UUIDs that nodes show', () => {
  const alone = (uuid: string | null) => ({ uuid, others: [] });

  it('may be those of several: each is told of the others, and none is refused (row 10)', () => {
    const uuids = new SystemUuids();
    assert.deepEqual(uuids.claim('node-1', one), alone(one));
    assert.deepEqual(uuids.claim('node-3', one), { uuid: one, others: ['node-1'] });
    assert.deepEqual(uuids.claim('node-2', one), { uuid: one, others: ['node-1', 'node-3'] });
    assert.deepEqual(uuids.claim('node-1', one), { uuid: one, others: ['node-2', 'node-3'] });
    assert.deepEqual(uuids.claim('node-2', two), alone(two));
    uuids.release('node-3');
    assert.deepEqual(uuids.claim('node-1', one), alone(one));
  });

  it('name some of the others where a whole batch has one', () => {
    const uuids = new SystemUuids();
    for (let index = 0; index < 2000; index++) uuids.restore(`node-${index}`, one);
    assert.equal(uuids.claim('node-7', one).others.length, 5);
  });

  it('are those last said, also where an answer leaves them out', () => {
    const uuids = new SystemUuids();
    assert.deepEqual(uuids.claim('node-1', undefined), alone(null));
    uuids.claim('node-1', one);
    assert.deepEqual(uuids.claim('node-1', undefined), alone(one));
    assert.deepEqual(uuids.claim('node-1', two), alone(two));
    assert.deepEqual(uuids.claim('node-2', one), alone(one));
  });

  it('are taken from a store as they are', () => {
    const uuids = new SystemUuids();
    for (const [name, uuid] of [
      ['node-1', one],
      ['node-2', one],
      ['node-3', null],
    ] as const)
      uuids.restore(name, uuid);
    assert.deepEqual(uuids.claim('node-1', undefined), { uuid: one, others: ['node-2'] });
    assert.deepEqual(uuids.claim('node-3', undefined), alone(null));
  });

  it('are free when the node is none any more', () => {
    const uuids = new SystemUuids();
    uuids.claim('node-1', one);
    uuids.release('node-1');
    uuids.release('node-3');
    assert.deepEqual(uuids.claim('node-2', one), alone(one));
  });

  it('are what they were where an answer that said another was not taken', () => {
    const uuids = new SystemUuids();
    uuids.claim('node-1', one);
    uuids.claim('node-1', two);
    uuids.restore('node-1', one);
    uuids.claim('gone', two);
    uuids.restore('gone', null);
    assert.deepEqual(uuids.claim('node-2', two), alone(two));
    assert.deepEqual(uuids.claim('node-1', undefined), alone(one));
  });

  it('are none where a maker left the same value in many machines', () => {
    const uuids = new SystemUuids();
    for (const shared of [
      '00000000-0000-0000-0000-000000000000',
      'ffffffff-ffff-ffff-ffff-ffffffffffff',
      '03000200-0400-0500-0006-000700080009',
    ])
      for (const node of ['node-1', 'node-2']) assert.deepEqual(uuids.claim(node, shared), alone(null));
  });
});
