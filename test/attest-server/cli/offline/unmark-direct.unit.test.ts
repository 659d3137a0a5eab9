import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'mocha';
import { z } from 'zod';
import { trustedCondition, trustedLabel } from '../../../../attest-server/formats/marks.ts';
import { type ApiServer, openApiServer } from '../../../../swtpm-fixtures/api-server/api-server.ts';
import { administrator, operator } from '../../../../swtpm-fixtures/api-server/users.ts';
import { defineResources } from '../../marking/defined-resources.ts';
import { runAssay } from '../cli-fixture.ts';

const node = z.object({
  metadata: z.object({ labels: z.record(z.string(), z.string()) }),
  spec: z.object({ taints: z.array(z.looseObject({ key: z.string() })).default([]) }),
  status: z.object({ conditions: z.array(z.looseObject({ type: z.string() })) }),
});
const foreign = { key: 'example.com/mine', value: 'x', effect: 'NoExecute' };
const untrusted = { key: 'assay.dev/untrusted', value: 'kernel_unknown', effect: 'NoSchedule' };

describe('unmark --direct', () => {
  let api: ApiServer;
  let kubeconfig: string;
  before(async () => {
    api = await openApiServer();
    kubeconfig = await api.kubeconfig(administrator);
  });
  after(() => api[Symbol.asyncDispose]());
  beforeEach(async () => {
    const admin = api.as(administrator);
    await admin.request('DELETE', '/api/v1/nodes');
    await admin.request('DELETE', '/apis/coordination.k8s.io/v1/namespaces/default/leases/assay-server');
    await api.createNode('good', {
      labels: { [trustedLabel]: 'true', 'example.com/pool': 'a' },
      conditions: [{ type: trustedCondition, status: 'True' }],
    });
    await api.createNode('bad', { taints: [foreign, untrusted, { ...untrusted, key: 'example.com/assay' }] });
    await api.createNode('plain', { taints: [foreign] });
  });

  const unmark = (...more: readonly string[]) =>
    runAssay(['unmark', '--all', '--direct', '--kubeconfig', kubeconfig, '--namespace', 'default', ...more], {
      now: Date.now,
    });
  const found = async (name: string) =>
    node.parse((await api.as(administrator).request('GET', `/api/v1/nodes/${name}`)).body);

  it('removes what is ours, and nothing else, and is done again without a change', async () => {
    const { code, out, err } = await unmark('--yes', '--taint-key', 'example.com/assay');
    assert.deepEqual([code, out], [0, 'the marks of 2 nodes are removed\n'], err);
    const good = await found('good');
    assert.equal(good.metadata.labels[trustedLabel], undefined);
    assert.equal(good.metadata.labels['example.com/pool'], 'a');
    assert.deepEqual(
      good.status.conditions.filter(({ type }) => type.startsWith('assay.dev/')),
      [],
    );
    assert.ok(good.status.conditions.some(({ type }) => type === 'Ready'));
    assert.deepEqual((await found('bad')).spec.taints, [foreign]);
    assert.deepEqual((await found('plain')).spec.taints, [foreign]);
    const again = await unmark('--yes');
    assert.deepEqual([again.code, again.out], [0, 'the marks of 0 nodes are removed\n']);
  });

  it('says with --dry-run what it would remove, and removes nothing', async () => {
    const { code, out } = await unmark('--dry-run', '-o', 'json');
    assert.equal(code, 0);
    const { latched, nodes } = JSON.parse(out);
    assert.equal(latched, false);
    assert.deepEqual(
      nodes.map((each: { node: string }) => each.node),
      ['bad', 'good'],
    );
    assert.equal((await found('good')).metadata.labels[trustedLabel], 'true');
  });

  it('does nothing while a server marks', async () => {
    const leases = '/apis/coordination.k8s.io/v1/namespaces/default/leases';
    const lease = (renewTime: string) => ({
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: 'assay-server', namespace: 'default' },
      spec: { holderIdentity: 'server-1', leaseDurationSeconds: 30, renewTime },
    });
    const admin = api.as(administrator);
    await admin.request('POST', leases, lease(new Date().toISOString().replace('Z', '000Z')));
    const refused = await unmark('--yes');
    assert.equal(refused.code, 1);
    assert.match(refused.err, /a server still marks the nodes: server-1/);
    assert.equal((await found('good')).metadata.labels[trustedLabel], 'true');
    await admin.request('DELETE', `${leases}/assay-server`);
    await admin.request('POST', leases, lease('2026-01-01T00:00:00.000000Z'));
    assert.equal((await unmark('--yes')).code, 0);
  });

  it('ends with 12 in a latched cluster until it is named by its uid, and leaves the latch (row 105)', async () => {
    const admin = api.as(administrator);
    const ours = '/apis/assay.dev/v1alpha1';
    await defineResources(api);
    const latch = {
      apiVersion: 'assay.dev/v1alpha1',
      kind: 'AssayLatch',
      metadata: { name: 'cluster' },
      spec: { groups: [], by: 'token:admin', enabledAt: '2026-11-20T12:00:00Z' },
    };
    assert.equal((await admin.request('POST', `${ours}/assaylatches`, latch)).code, 201);
    const attestation = { apiVersion: latch.apiVersion, kind: 'NodeAttestation', metadata: { name: 'gone' } };
    assert.equal((await admin.request('POST', `${ours}/nodeattestations`, attestation)).code, 201);
    for (const words of [[], ['--reason', 'moved'], ['--cluster-uid', 'another', '--reason', 'moved']]) {
      const refused = await unmark('--yes', ...words);
      assert.deepEqual([refused.code, /latched/.test(refused.err)], [12, true], refused.err);
    }
    assert.equal((await found('good')).metadata.labels[trustedLabel], 'true');
    const { body } = await admin.request('GET', '/api/v1/namespaces/kube-system');
    const { metadata } = z.object({ metadata: z.object({ uid: z.string() }) }).parse(body);
    const done = await unmark('--yes', '--cluster-uid', metadata.uid, '--reason', 'moved');
    assert.equal(done.code, 0, done.err);
    assert.equal((await found('good')).metadata.labels[trustedLabel], undefined);
    assert.equal((await admin.request('GET', `${ours}/nodeattestations/gone`)).code, 404);
    assert.equal((await admin.request('GET', `${ours}/assaylatches/cluster`)).code, 200);
    await admin.request('DELETE', `${ours}/assaylatches/cluster`);
  });

  it('names the right that is missing, and has removed nothing', async () => {
    kubeconfig = await api.kubeconfig(operator('nobody'));
    const { code, err } = await unmark('--yes');
    kubeconfig = await api.kubeconfig(administrator);
    assert.equal(code, 1);
    assert.match(err, /nodes/);
    assert.equal((await found('good')).metadata.labels[trustedLabel], 'true');
  });

  it('asks, wants --all, and takes a kubeconfig that is there', async () => {
    assert.equal((await unmark()).code, 2);
    const direct = (...words: readonly string[]) => runAssay(['unmark', '--direct', '--yes', ...words]);
    assert.equal((await direct('--kubeconfig', kubeconfig)).code, 2);
    const missing = await direct('--all', '--kubeconfig', '/nonexistent/config');
    assert.equal(missing.code, 1);
    assert.match(missing.err, /kubeconfig/);
    assert.equal((await runAssay(['unmark', '--all', '--yes', '--kubeconfig', kubeconfig])).code, 2);
  });
});
