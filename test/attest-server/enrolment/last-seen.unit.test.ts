import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { LastSeen } from '../../../attest-server/enrolment/last-seen.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { madeEvent, madeNode, madeRecord } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';

const node = madeNode('node-1');
const there = { address: '10.0.0.1', agent: '0.2.0' };

describe('from where a node last came', () => {
  let store: Store;
  beforeEach(async () => {
    store = await openMadeStore(':memory:');
    await store.enrolment.enrol(node, madeEvent('enrol', 'node-1'));
  });
  afterEach(() => store[Symbol.asyncDispose]());

  it('is written once it is new, and not again', async () => {
    const written: unknown[] = [];
    const lastSeen = await LastSeen.open({
      seen: store.enrolment.seen,
      saveSeen: async (changed) => {
        written.push(changed);
        await store.enrolment.saveSeen(changed);
      },
    });
    for (let each = 0; each < 3; each += 1) {
      lastSeen.note(node, there);
      await lastSeen.flush();
    }
    assert.deepEqual(written, [[{ ...there, ekDigest: node.ekDigest }]]);
    assert.deepEqual((await LastSeen.open(store.enrolment)).of('node-1'), there);
  });

  it('is moved by no verdict, and forgotten with the enrolment', async () => {
    const lastSeen = await LastSeen.open(store.enrolment);
    lastSeen.note(node, there);
    await lastSeen.flush();
    await store.verdicts.recordChange(madeRecord(node, 2_000));
    assert.deepEqual((await LastSeen.open(store.enrolment)).of('node-1'), there);
    lastSeen.note(node, { ...there, agent: '0.3.0' });
    lastSeen.forget('node-1');
    await lastSeen.flush();
    assert.equal(lastSeen.of('node-1'), null);
    const revocation = { name: 'node-1', ekDigest: node.ekDigest, at: 3_000, reason: 'sold' };
    await store.enrolment.revoke(revocation, madeEvent('enrol.revoke', 'node-1'));
    assert.equal((await LastSeen.open(store.enrolment)).of('node-1'), null);
  });
});
