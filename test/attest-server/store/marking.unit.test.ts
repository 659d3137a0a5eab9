import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, it } from 'mocha';
import type { Exemption, Hold, Latch, Pause } from '../../../attest-server/marking/ports.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { madeEvent } from './made-records.ts';
import { openMadeStore } from './made-store.ts';

const pause: Pause = { by: 'token:alice', reason: 'a wrong reference', at: 1000 };
const latch: Latch = { groups: ['workers'], by: 'token:admin', at: 1000 };
const hold: Hold = {
  group: 'workers',
  code: 'kernel_unknown',
  value: 'ab'.repeat(32),
  at: 1000,
  decision: 'open',
  by: null,
  reason: null,
};
const exemption: Exemption = { node: 'node-1', reason: 'the only one', by: 'token:alice', at: 1, until: 9 };

describe('the store of what people decide about marks', () => {
  let folder: string;
  let path: string;
  let store: Store;
  let unreadable: string[];

  const open = async () => {
    store = await openMadeStore(path, { onUnreadable: ({ key }) => unreadable.push(key) });
  };
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'assay-marking-store-'));
    path = join(folder, 'state', 'assay.db');
    unreadable = [];
    await open();
  });
  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  const actions = async () => (await store.audit.entries({ limit: 100 })).map(({ action }) => action);
  const again = async () => {
    await store[Symbol.asyncDispose]();
    await open();
  };
  const damage = async (kind: string, key = '') => {
    await store[Symbol.asyncDispose]();
    const database = new DatabaseSync(path);
    database
      .prepare('update cluster_decisions set body = ? where kind = ? and key = ?')
      .run('{"nonsense":', kind, key);
    database.close();
    await open();
  };

  it('keeps each decision over a new start, with its audit entry', async () => {
    assert.deepEqual(
      [await store.marking.pause(), await store.marking.latch(), await store.marking.holds()],
      [null, null, []],
    );
    await store.marking.setPause(pause, madeEvent('cluster.pause', 'cluster'));
    await store.marking.setLatch(latch, madeEvent('trust.enable', 'cluster'));
    await store.marking.saveHolds([{ hold, audit: madeEvent('breaker.open', 'workers') }]);
    await store.marking.setExemption(exemption, madeEvent('exempt', 'node-1'));
    await again();
    assert.deepEqual(await store.marking.pause(), pause);
    assert.deepEqual(await store.marking.latch(), latch);
    assert.deepEqual(await store.marking.holds(), [hold]);
    assert.deepEqual(await store.marking.exemptions(), [exemption]);
    assert.deepEqual(await actions(), ['cluster.pause', 'trust.enable', 'breaker.open', 'exempt']);
  });

  it('replaces the hold of one group, code and value, and keeps those of others apart', async () => {
    const other = { ...hold, value: null };
    const audit = madeEvent('breaker.open', 'workers');
    await store.marking.saveHolds([
      { hold, audit },
      { hold: other, audit },
    ]);
    const released: Hold = { ...hold, decision: 'released', by: 'token:alice', reason: 'it is right' };
    await store.marking.saveHolds([{ hold: released, audit: madeEvent('breaker.release', 'workers') }]);
    assert.deepEqual(new Set(await store.marking.holds()), new Set([released, other]));
    await store.marking.removeHolds([{ hold: other, audit: madeEvent('breaker.close', 'workers') }]);
    await store.marking.removeHolds([{ hold: other, audit: madeEvent('breaker.close', 'workers') }]);
    assert.deepEqual(await store.marking.holds(), [released]);
    assert.equal((await actions()).filter((action) => action === 'breaker.close').length, 1);
  });

  it('ends a pause, and an exemption once', async () => {
    await store.marking.setPause(pause, madeEvent('cluster.pause', 'cluster'));
    await store.marking.setPause(null, madeEvent('cluster.resume', 'cluster'));
    assert.equal(await store.marking.pause(), null);
    await store.marking.setExemption(exemption, madeEvent('exempt', 'node-1'));
    const end = madeEvent('exempt.end', 'node-1');
    assert.equal(await store.marking.removeExemption('node-1', end), true);
    assert.equal(await store.marking.removeExemption('node-1', end), false);
    assert.deepEqual(await store.marking.exemptions(), []);
    assert.deepEqual((await actions()).slice(2), ['exempt', 'exempt.end']);
  });

  for (const [what, next, isTaken] of [
    ['another group', ['workers', 'gpu'], true],
    ['all groups', [], true],
    ['another group instead', ['gpu'], false],
  ] as const)
    it(`${isTaken ? 'lets' : 'never lets'} the latch be set to ${what}`, async () => {
      await store.marking.setLatch(latch, madeEvent('trust.enable', 'cluster'));
      const set = () =>
        store.marking.setLatch({ ...latch, groups: next }, madeEvent('trust.enable', 'cluster'));
      if (isTaken) await set();
      else await assert.rejects(set, /never shrinks/);
      assert.deepEqual((await store.marking.latch())?.groups, isTaken ? next : latch.groups);
      assert.equal((await actions()).length, isTaken ? 2 : 1);
    });

  it('never lets a latch of all groups become one of some', async () => {
    await store.marking.setLatch({ ...latch, groups: [] }, madeEvent('trust.enable', 'cluster'));
    await assert.rejects(
      store.marking.setLatch(latch, madeEvent('trust.enable', 'cluster')),
      /never shrinks/,
    );
    assert.deepEqual((await store.marking.latch())?.groups, []);
  });

  it('counts a damaged latch for one of all groups, and a damaged pause for a pause', async () => {
    await store.marking.setLatch(latch, madeEvent('trust.enable', 'cluster'));
    await store.marking.setPause(pause, madeEvent('cluster.pause', 'cluster'));
    await damage('latch');
    await damage('pause');
    assert.deepEqual((await store.marking.latch())?.groups, []);
    assert.equal((await store.marking.pause())?.by, 'server');
    assert.deepEqual((await store.marking.latchedPolicy.read())?.groups, []);
    await assert.rejects(
      store.marking.setLatch(latch, madeEvent('trust.enable', 'cluster')),
      /never shrinks/,
    );
    assert.ok(unreadable.includes('latch') && unreadable.includes('pause'), String(unreadable));
  });

  it('leaves out a damaged hold or exemption, and says which', async () => {
    const audit = madeEvent('breaker.open', 'workers');
    await store.marking.saveHolds([
      { hold, audit },
      { hold: { ...hold, group: 'gpu' }, audit },
    ]);
    await store.marking.setExemption(exemption, madeEvent('exempt', 'node-1'));
    await damage('exemption', 'node-1');
    await damage('hold', JSON.stringify([hold.group, hold.code, hold.value]));
    assert.deepEqual(await store.marking.exemptions(), []);
    assert.deepEqual(
      (await store.marking.holds()).map(({ group }) => group),
      ['gpu'],
    );
    assert.equal(unreadable.length, 2);
  });

  it('keeps the policy that a latched cluster last had, and tells none without a latch', async () => {
    const kept = { source: '/etc/assay/policy.yaml', text: 'apiVersion: assay.dev/v1\n' };
    await store.marking.latchedPolicy.keep(kept);
    assert.equal(await store.marking.latchedPolicy.read(), null);
    await store.marking.setLatch(latch, madeEvent('trust.enable', 'cluster'));
    assert.deepEqual(await store.marking.latchedPolicy.read(), { groups: ['workers'], policy: kept });
    await damage('latch', 'policy');
    assert.deepEqual(await store.marking.latchedPolicy.read(), { groups: ['workers'], policy: null });
  });
});
