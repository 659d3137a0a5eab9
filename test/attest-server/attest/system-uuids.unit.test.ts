import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { SystemUuids } from '../../../attest-server/attest/system-uuids.ts';
import { rejectionOf } from '../verify/rejection-of.ts';

const one = '4c4c4544-0042-3510-8052-b4c04f4d5132';
const two = '4c4c4544-0042-3510-8052-b4c04f4d5133';

describe('the system UUIDs that nodes show', () => {
  it('are one node’s each: another’s is refused, before and after a node had its own (row 10)', () => {
    const uuids = new SystemUuids();
    assert.equal(uuids.claim('node-1', one), one);
    assert.equal(rejectionOf(() => uuids.claim('node-2', one))?.code, 'identity_claim_mismatch');
    assert.equal(uuids.claim('node-2', two), two);
    assert.equal(rejectionOf(() => uuids.claim('node-2', one))?.code, 'identity_claim_mismatch');
    assert.deepEqual([uuids.claim('node-1', one), uuids.claim('node-2', two)], [one, two]);
  });

  it('are those last said, also where an answer leaves them out', () => {
    const uuids = new SystemUuids();
    assert.equal(uuids.claim('node-1', undefined), null);
    uuids.claim('node-1', one);
    assert.equal(uuids.claim('node-1', undefined), one);
    assert.equal(uuids.claim('node-1', two), two);
    assert.equal(uuids.claim('node-2', one), one);
  });

  it('are taken from a store as they are, and the first of two that share one has it', () => {
    const uuids = new SystemUuids();
    for (const [name, uuid] of [
      ['node-1', one],
      ['node-2', one],
      ['node-3', null],
    ] as const)
      uuids.remember(name, uuid);
    assert.equal(uuids.claim('node-1', one), one);
    assert.equal(uuids.claim('node-2', undefined), null);
  });

  it('are free when the node is none any more', () => {
    const uuids = new SystemUuids();
    uuids.claim('node-1', one);
    uuids.forget('node-1');
    uuids.forget('node-3');
    assert.equal(uuids.claim('node-2', one), one);
  });

  it('are what they were where an answer that said another was not taken', () => {
    const uuids = new SystemUuids();
    uuids.claim('node-1', one);
    uuids.claim('node-1', two);
    uuids.restore('node-1', one);
    uuids.claim('gone', two);
    uuids.restore('gone', null);
    assert.equal(rejectionOf(() => uuids.claim('node-2', one))?.code, 'identity_claim_mismatch');
    assert.equal(uuids.claim('node-2', two), two);
    // Free meanwhile, and another's now: it is not taken away from that one.
    uuids.restore('node-1', two);
    assert.equal(uuids.claim('node-2', undefined), two);
  });

  it('are none where a maker left the same value in many machines', () => {
    const uuids = new SystemUuids();
    for (const shared of [
      '00000000-0000-0000-0000-000000000000',
      'ffffffff-ffff-ffff-ffff-ffffffffffff',
      '03000200-0400-0500-0006-000700080009',
    ])
      for (const node of ['node-1', 'node-2']) assert.equal(uuids.claim(node, shared), null);
  });
});
