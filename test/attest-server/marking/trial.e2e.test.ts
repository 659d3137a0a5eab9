import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { clusterView } from '../../../attest-server/api/cluster-api.ts';
import { isObject, listAt, textAt } from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator } from '../../../swtpm-fixtures/api-server/users.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { type ForgedSite, openForgedSite } from './forged-site.ts';

const good = recordedLog('debian13-sdboot-uki');
const latches = '/apis/assay.dev/v1alpha1/assaylatches';

describe('a server on trial in a cluster (row 301)', () => {
  let site: ForgedSite;
  let isOnTrial = false;
  beforeEach(async () => {
    isOnTrial = false;
    site = await openForgedSite({ trial: () => isOnTrial });
    await site.add('node-1');
    assert.equal(await site.answer('node-1', good, 7), 'pending');
    await site.world.call('POST', '/v1/references', { node: 'node-1', name: 'good' });
    assert.equal(await site.answer('node-1', good, 7), 'trusted');
    await site.reaches('node-1', 'label True');
  });
  afterEach(() => site[Symbol.asyncDispose]());

  const attestationOf = async (node: string) => {
    const target = `/apis/assay.dev/v1alpha1/nodeattestations/${node}`;
    const status = (await site.api.as(administrator).request('GET', target)).body?.status;
    return isObject(status) ? status : null;
  };
  const shown = async () => clusterView.parse(await site.world.call('GET', '/v1/cluster'));
  const enable = async () => ({ groups: ['workers'], auditKeyCopy: await site.world.auditKeyCopy() });

  it('marks nothing by a policy that enforces, and its resources say that it is a trial', async () => {
    isOnTrial = true;
    await site.world.restart();
    await site.reaches('node-1', '-');
    // Of a node of which nothing is proven yet, too.
    await site.add('node-2');
    const found = (state: string) => async () => {
      const status = await attestationOf('node-2');
      return status?.state === state ? status : null;
    };
    const { trial, mode } = await site.world.until(found('pending'));
    assert.deepEqual({ trial, mode }, { trial: true, mode: 'observe' });
    assert.equal(await site.answer('node-2', good, 7), 'trusted');
    const proven = await site.world.until(found('trusted'));
    const [condition] = listAt(proven, 'conditions');
    assert.deepEqual(
      [proven.trial, textAt(condition, 'status'), textAt(condition, 'reason')],
      [true, 'Unknown', 'Trial'],
    );
    for (const node of ['node-1', 'node-2']) assert.equal(site.marksOf(node), '-');
  });

  it('refuses to enable trust for good, whatever the policy says', async () => {
    isOnTrial = true;
    await site.world.restart();
    await assert.rejects(site.world.call('POST', '/v1/cluster/trust', await enable()), /ASSAY_TRIAL/);
    assert.equal((await shown()).latch, null);
  });

  it('does not start on a database that has the latch', async () => {
    await site.world.call('POST', '/v1/cluster/trust', await enable());
    isOnTrial = true;
    await assert.rejects(site.world.restart(), /trust is enabled for good on this database/);
    isOnTrial = false;
    await site.world.restart();
    assert.deepEqual((await shown()).latch?.groups, ['workers']);
  });

  it('touches no mark of a cluster that has the latch, takes it into no database, and says so', async () => {
    const latch = { apiVersion: 'assay.dev/v1alpha1', kind: 'AssayLatch', metadata: { name: 'cluster' } };
    const spec = { groups: ['workers'], by: 'token:alice', enabledAt: '2026-01-01T00:00:00Z' };
    await site.world.restart(async () => {
      const made = await site.api.as(administrator).request('POST', latches, { ...latch, spec });
      assert.equal(made.code, 201, made.text);
      isOnTrial = true;
    });
    await site.world.until(async () => (await shown()).faults.some((text) => text.includes('trial')));
    assert.equal((await shown()).lease, null);
    assert.equal(await site.answer('node-1', good, 7), 'trusted');
    assert.equal(await site.world.metric('assay_enforcement_leader'), 0);
    // Elsewhere its marks are gone within one.
    await sleep(3_000);
    assert.equal(site.marksOf('node-1'), 'label True');
    assert.notEqual((await attestationOf('node-1'))?.trial, true);
    assert.equal((await shown()).latch, null);
  });
});
