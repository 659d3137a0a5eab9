import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { verifyChain } from '../../../attest-server/audit/chain.ts';
import { groupCommit } from '../../../attest-server/store/group-commit.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { madeEvent, madeNode, madeRecord } from './made-records.ts';
import { openMadeStore } from './made-store.ts';

describe('verdicts that arrive together', () => {
  it('are written by one commit, in their order, and acknowledged after it', async () => {
    const writes: (readonly number[])[] = [];
    let done = false;
    const commits = groupCommit<number>(async (records) => {
      writes.push(records);
      await new Promise((resolve) => setTimeout(resolve, 20));
      done = true;
      return [];
    });
    await Promise.all([1, 2, 3].map((record) => commits.add(record).then(() => assert.equal(done, true))));
    assert.deepEqual(writes, [[1, 2, 3]]);
  });

  it('are written by the next commit where they arrive during one', async () => {
    const writes: (readonly number[])[] = [];
    let inside = 0;
    const commits = groupCommit<number>(async (records) => {
      assert.equal(++inside, 1);
      writes.push(records);
      await new Promise((resolve) => setTimeout(resolve, 30));
      inside -= 1;
      return [];
    });
    const first = commits.add(1);
    await new Promise((resolve) => setTimeout(resolve, 15));
    await Promise.all([first, commits.add(2)]);
    assert.deepEqual(writes, [[1], [2]]);
  });

  it('are bounded: a batch that is full does not wait', async () => {
    const sizes: number[] = [];
    const commits = groupCommit<number>(async (records) => {
      sizes.push(records.length);
      return [];
    });
    await Promise.all(Array.from({ length: 600 }, (_, record) => commits.add(record)));
    assert.deepEqual(sizes, [256, 256, 88]);
  });

  it('fail each for itself: a bad one costs the others nothing, and the audit log stays whole', async () => {
    await withStore(async (store) => {
      const nodes = ['node-1', 'node-2', 'node-3'].map((name) => madeNode(name));
      for (const node of nodes) await store.enrolment.enrol(node, madeEvent('enrol', node.name));
      const good = nodes.map((node, index) => madeRecord(node, 2_000 + index));
      const wrongDigest = { ...good[0]!, evidence: [{ digest: '00'.repeat(32), bytes: Buffer.from('x') }] };
      const outcomes = await Promise.allSettled([
        store.verdicts.recordChange(good[0]!),
        store.verdicts.recordChange(madeRecord(madeNode('stranger'), 2_500)),
        store.verdicts.recordChange(good[1]!),
        store.verdicts.recordChange(wrongDigest),
        store.verdicts.recordChange({ ...good[1]!, audit: [{ ...good[1]!.audit[0]!, at: Number.NaN }] }),
        store.verdicts.recordChange(good[2]!),
      ]);
      assert.deepEqual(
        outcomes.map(({ status }) => status),
        ['fulfilled', 'rejected', 'fulfilled', 'rejected', 'rejected', 'fulfilled'],
      );
      for (const { name } of nodes)
        assert.equal((await store.verdicts.history(name, { limit: 9 })).length, 1);
      const entries = await store.audit.entries({ limit: 100 });
      assert.equal(verifyChain(entries).ok, true);
      assert.deepEqual(
        entries.filter(({ action }) => action === 'verdict').map(({ subject }) => subject),
        ['node-1', 'node-2', 'node-3'],
      );
    });
  });

  it('keep one chain with what others write at the same time', async () => {
    await withStore(async (store) => {
      const nodes = Array.from({ length: 20 }, (_, index) => madeNode(`node-${index}`));
      await Promise.all(
        nodes.map(async (node, index) => {
          await store.enrolment.enrol(node, madeEvent('enrol', node.name));
          await Promise.all([
            store.verdicts.recordChange(madeRecord(node, 2_000 + index)),
            store.audit.append(madeEvent('refuse', node.name)),
            store.verdicts.recordChange(madeRecord(node, 3_000 + index)),
          ]);
        }),
      );
      const entries = await store.audit.entries({ limit: 100 });
      assert.equal(entries.length, 80);
      assert.equal(verifyChain(entries).ok, true);
    });
  });

  it('are on disk once the store is closed, though nobody waited for them', async () => {
    const added: Promise<void>[] = [];
    await withStore(async (store) => {
      await store.enrolment.enrol(madeNode('node-1'), madeEvent('enrol', 'node-1'));
      added.push(store.verdicts.recordChange(madeRecord(madeNode('node-1'), 2_000)));
    });
    await Promise.all(added);
  });
});

async function withStore(work: (store: Store) => Promise<void>): Promise<void> {
  const store = await openMadeStore(':memory:');
  try {
    await work(store);
  } finally {
    await store[Symbol.asyncDispose]();
  }
}
