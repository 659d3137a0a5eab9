import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { type KeptDecisions, loadDecisions } from '../../../attest-server/marking/decisions.ts';
import { isAsWide, unite } from '../../../attest-server/marking/latch.ts';
import { createLatchKeeper, type LatchKeeper } from '../../../attest-server/marking/latch-keeper.ts';
import { ClusterError, type ClusterLatch, type Latch } from '../../../attest-server/marking/ports.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { openMadeStore } from '../store/made-store.ts';

const stored = (...groups: string[]): Latch => ({ groups, by: 'token:admin', at: 1000 });
const resource = (...groups: string[]): ClusterLatch => ({
  groups,
  by: 'token:admin',
  enabledAt: '2026-11-20T12:00:00Z',
});

describe('the latch', () => {
  for (const [what, store, cluster, groups] of [
    ['neither place', null, null, null],
    ['the store alone', stored('a'), null, ['a']],
    ['the cluster alone', null, resource('a'), ['a']],
    ['both, of other groups each', stored('b'), resource('a'), ['a', 'b']],
    ['both, one of them of all groups', stored('a'), resource(), []],
    ['both, the store of all groups', stored(), resource('a'), []],
  ] as const)
    it(`is ${groups === null ? 'off' : 'on'} where ${what} has it`, () => {
      assert.deepEqual(unite(store, cluster)?.groups ?? null, groups);
    });

  it('lacks a group where one place does not name it', () => {
    assert.equal(isAsWide([], ['a']), true);
    assert.equal(isAsWide(['a'], []), false);
    assert.equal(isAsWide(['a', 'b'], ['b']), true);
    assert.equal(isAsWide(['a'], ['b']), false);
  });
});

describe('the keeper of the latch', () => {
  let store: Store;
  let decisions: KeptDecisions;
  let cluster: ClusterLatch | null;
  let fault: ClusterError | null;
  let refusal: ClusterError | null;
  let told: string[];
  let withPolicy: number;
  let keeper: LatchKeeper;
  const start = async () => {
    decisions = await loadDecisions({ store: store.marking, now: () => 1000 });
    keeper = createLatchKeeper({
      decisions,
      trial: false,
      writer: {
        async readLatch() {
          if (fault !== null) throw fault;
          return cluster;
        },
        async applyLatch(latch) {
          const error = fault ?? refusal;
          if (error !== null) throw error;
          cluster = latch;
        },
      },
      withPolicy(work) {
        withPolicy += 1;
        return work();
      },
      report: {
        latchRestored: (where) => void told.push(`restored ${where}`),
        latchUnkept: (text) => void told.push(text),
      },
    });
  };
  beforeEach(async () => {
    store = await openMadeStore(':memory:');
    [cluster, fault, refusal, told, withPolicy] = [null, null, null, [], 0];
    await start();
  });
  afterEach(() => store[Symbol.asyncDispose]());
  const actions = async () => (await store.audit.entries({ limit: 100 })).map(({ action }) => action);

  it('writes it in both places, after the policy in force was kept', async () => {
    assert.equal(keeper.inCluster(), null);
    const shown = { auditKeyCopy: '0a1b2c3d' };
    assert.deepEqual(await keeper.enable(stored('workers'), shown), { inCluster: true });
    assert.equal(withPolicy, 1);
    assert.deepEqual(cluster?.groups, ['workers']);
    assert.deepEqual((await store.marking.latch())?.groups, ['workers']);
    await keeper.look();
    assert.deepEqual([await actions(), told], [['trust.enable'], []]);
    const [entry] = await store.audit.entries({ limit: 1 });
    assert.deepEqual(entry?.detail, { groups: 'workers', ...shown });
  });

  it('stores the latch of a cluster whose server is installed again', async () => {
    cluster = resource('workers');
    await keeper.look();
    assert.deepEqual(decisions.latch()?.groups, ['workers']);
    assert.equal(withPolicy, 1);
    assert.deepEqual([await actions(), told], [['trust.restore'], ['restored store']]);
  });

  it('writes it in the cluster again where somebody removed it there', async () => {
    await keeper.enable(stored('workers'), {});
    cluster = null;
    await keeper.look();
    assert.deepEqual((await store.marking.latch())?.groups, ['workers']);
    assert.deepEqual(cluster && { ...resource('workers'), enabledAt: '1970-01-01T00:00:01.000Z' }, cluster);
    assert.deepEqual([await actions(), told], [['trust.enable', 'trust.restore'], ['restored cluster']]);
    await keeper.look();
    assert.equal((await actions()).length, 2);
  });

  it('holds in the store while the cluster gives no answer, says so once, and writes it there later', async () => {
    fault = new ClusterError('unreachable', 'the API gives no answer');
    assert.deepEqual(await keeper.enable(stored('workers'), {}), { inCluster: false });
    await keeper.look();
    await keeper.look();
    assert.equal(keeper.inCluster(), null);
    assert.deepEqual(told, ['the API gives no answer']);
    fault = null;
    await keeper.look();
    assert.equal(keeper.inCluster(), true);
    assert.deepEqual(cluster?.groups, ['workers']);
  });

  it('holds in the store while the cluster refuses it, shows that the cluster lacks it, and writes it there later', async () => {
    refusal = new ClusterError('invalid', 'the API answers 422');
    assert.deepEqual(await keeper.enable(stored('workers'), {}), { inCluster: false });
    await keeper.look();
    assert.deepEqual([keeper.inCluster(), decisions.latch()?.groups], [false, ['workers']]);
    assert.deepEqual(told, ['the API answers 422']);
    refusal = null;
    await keeper.look();
    assert.deepEqual([keeper.inCluster(), cluster?.groups], [true, ['workers']]);
  });

  it('is off, and known to be, where neither place has it', async () => {
    await keeper.look();
    assert.equal(keeper.inCluster(), false);
    assert.equal(decisions.latch(), null);
    assert.deepEqual(await actions(), []);
  });
});
