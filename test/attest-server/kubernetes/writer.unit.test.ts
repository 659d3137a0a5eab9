import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { ClusterError, type ClusterNode } from '../../../attest-server/marking/ports.ts';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { at, type Json, textAt } from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator } from '../../../swtpm-fixtures/api-server/users.ts';
import { definitions, definitionsPath } from '../marking/defined-resources.ts';
import { type Opened, opened } from './opened.ts';

const taint = { key: 'example.com/a', value: 'b', effect: 'NoSchedule' };

describe('what the server writes into its cluster', () => {
  let api: ApiServer;
  let room: Opened;
  before(async () => {
    api = await openApiServer({ rbac: false });
    await asked('POST', '/api/v1/namespaces', { metadata: { name: 'assay' } });
  });
  after(() => api[Symbol.asyncDispose]());
  beforeEach(async () => {
    await asked('DELETE', '/api/v1/nodes');
    await api.createNode('n1');
    api.log.clear();
    room = await opened(api);
    await until(() => room.kubernetes.nodes.get('n1') !== null);
  });
  afterEach(async () => {
    api.faults.clear();
    await room[Symbol.asyncDispose]();
  });
  const asked = (method: string, path: string, body?: Json) =>
    api.as(administrator).request(method, path, body);
  const define = async () => {
    for (const body of definitions)
      assert.ok([201, 409].includes((await asked('POST', definitionsPath, body)).code));
  };
  const n1 = (): ClusterNode => {
    const node = room.kubernetes.nodes.get('n1');
    assert.ok(node);
    return node;
  };
  const refusal = async (work: Promise<unknown>): Promise<ClusterError> => {
    const error = await work.then(
      () => null,
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof ClusterError, String(error));
    return error;
  };

  it('changes a Node by JSON patch and its own name, and gives it as it is then', async () => {
    const { writer } = room.kubernetes;
    const after = await writer.patchNode('n1', [
      { op: 'test', path: '/metadata/resourceVersion', value: n1().resourceVersion },
      { op: 'add', path: '/spec/taints', value: [taint] },
    ]);
    assert.deepEqual([after.taints, after.name], [[taint], 'n1']);
    const condition = { type: 'assay.dev/Trusted', status: 'True', reason: 'Trusted' };
    const added = { op: 'add', path: '/status/conditions/-', value: condition } as const;
    const status = await writer.patchNode('n1', [added], '/status');
    assert.deepEqual(status.conditions.at(-1), condition);
    await until(() => n1().resourceVersion === status.resourceVersion);
    assert.deepEqual((await writer.readNode('n1'))?.taints, [taint]);
    assert.equal(await writer.readNode('n2'), null);
    const [write] = api.log.writes({ resource: 'nodes' });
    assert.equal(write?.user, 'system:serviceaccount:assay:assay-server');
    const fields = (await asked('GET', '/api/v1/nodes/n1')).text;
    assert.ok(fields.includes('"manager":"assay-server"'));
  });

  it('is told that somebody was quicker, a Node is gone, a rule is broken, a right is missing, or to wait', async () => {
    const { writer } = room.kubernetes;
    const stale = [
      { op: 'test', path: '/metadata/resourceVersion', value: '1' },
      { op: 'add', path: '/spec/taints', value: [taint] },
    ] as const;
    assert.equal((await refusal(writer.patchNode('n1', stale))).reason, 'conflict');
    assert.equal((await refusal(writer.patchNode('n2', stale))).reason, 'not_found');
    const twice = [
      { op: 'test', path: '/metadata/resourceVersion', value: n1().resourceVersion },
      { op: 'add', path: '/spec/taints', value: [taint, { ...taint, value: 'c' }] },
    ] as const;
    assert.equal((await refusal(writer.patchNode('n1', twice))).reason, 'invalid');
    const struck = async (effect: Parameters<typeof api.faults.add>[0]['effect']) => {
      using _fault = api.faults.add({ verbs: ['patch'], effect });
      return await refusal(writer.patchNode('n1', stale));
    };
    assert.equal((await struck({ kind: 'forbidden' })).reason, 'forbidden');
    assert.equal((await struck({ kind: 'conflict' })).reason, 'conflict');
    assert.equal((await struck({ kind: 'failed' })).reason, 'failed');
    assert.equal((await struck({ kind: 'drop' })).reason, 'unreachable');
    const { reason, retryAfter } = await struck({ kind: 'too_many', retryAfterSeconds: 7 });
    assert.deepEqual([reason, retryAfter], ['too_many', 7_000]);
    assert.deepEqual(room.faults(), ['forbidden']);
    assert.ok(room.lines.some(({ msg }) => msg.includes('no right to patch nodes')));
    await writer.patchNode('n1', [{ op: 'add', path: '/spec/taints', value: [taint] }]);
    assert.deepEqual(room.faults(), []);
  });

  it('is not waited for longer than its bound, and delays nothing else', async () => {
    using _hang = api.faults.add({
      verbs: ['patch'],
      resource: 'nodes',
      effect: { kind: 'hang', ms: 60_000 },
    });
    await using other = await opened(api, {}, { requestWithin: 2_000 });
    const { writer, nodes } = other.kubernetes;
    let settled = 0;
    const hanging = Array.from({ length: 8 }, async () => {
      const error = await refusal(
        writer.patchNode('n1', [{ op: 'add', path: '/spec/taints', value: [taint] }]),
      );
      settled += 1;
      return error;
    });
    await api.createNode('n2');
    await until(() => nodes.get('n2') !== null);
    assert.match(await writer.uid(), /^[0-9a-f-]{36}$/);
    assert.equal(settled, 0);
    for (const { reason } of await Promise.all(hanging)) assert.equal(reason, 'unreachable');
    assert.ok(other.asked.includes('patch nodes none'));
  });

  it('says which definitions are missing, and keeps one NodeAttestation a node where they are there', async () => {
    const { writer } = room.kubernetes;
    const missing = await refusal(writer.applyAttestation(n1(), { state: 'trusted' }, true));
    assert.equal(missing.reason, 'not_found');
    assert.match(missing.message, /no resources of assay\.dev\/v1alpha1: apply manifests\/base\/crds/);
    assert.match((await refusal(writer.attestations())).message, /apply manifests\/base\/crds/);
    await writer.removeAttestation('n1');
    assert.equal(await writer.readLatch(), null);

    await define();
    await writer.applyAttestation(n1(), { state: 'trusted', codes: [] }, false);
    await writer.applyAttestation(n1(), { state: 'untrusted', codes: ['kernel_unknown'] }, true);
    const { body } = await asked('GET', '/apis/assay.dev/v1alpha1/nodeattestations/n1');
    assert.deepEqual(at(body, 'status'), { state: 'untrusted', codes: ['kernel_unknown'] });
    // Of one that was made already, one request.
    assert.equal(room.asked.filter((line) => line === 'apply nodeattestations.assay.dev 201').length, 1);
    assert.deepEqual(await writer.attestations(), [
      { name: 'n1', status: { state: 'untrusted', codes: ['kernel_unknown'] } },
    ]);
    await writer.removeAttestation('n1');
    await writer.removeAttestation('n1');
    assert.deepEqual(await writer.attestations(), []);
  });

  it('makes the latch, adds to it, and takes nothing away', async () => {
    await define();
    const { writer } = room.kubernetes;
    const first = { groups: ['b'], by: 'token:alice', enabledAt: '2026-11-20T12:00:00Z' };
    await writer.applyLatch(first);
    assert.deepEqual(await writer.readLatch(), first);
    await writer.applyLatch({ groups: ['a'], by: 'token:bob', enabledAt: '2026-11-21T12:00:00Z' });
    assert.deepEqual(await writer.readLatch(), { ...first, groups: ['b', 'a'] });
    await writer.applyLatch({ ...first, groups: [] });
    assert.deepEqual(await writer.readLatch(), { ...first, groups: [] });
    await writer.applyLatch(first);
    assert.deepEqual(await writer.readLatch(), { ...first, groups: [] });
  });

  it('takes a latch whose content was taken away for one of all groups', async () => {
    await define();
    const { writer } = room.kubernetes;
    // Its definition was another one when that was done.
    const [table, name] = ['assay.dev/assaylatches', 'cluster'];
    const { object } = api.store.get(table, name) ?? assert.fail();
    api.store.put(table, name, { ...object, spec: { groups: 'none' } });
    assert.deepEqual((await writer.readLatch())?.groups, []);
  });

  it('tells an Event on the Node, and counts the same one that follows within minutes', async () => {
    const { writer } = room.kubernetes;
    const event = { type: 'Warning', reason: 'KernelUnknown', message: 'the kernel is another one' } as const;
    await writer.event(n1(), event);
    await writer.event(n1(), event);
    await writer.event(n1(), { ...event, reason: 'Trusted', type: 'Normal', message: 'x'.repeat(5_000) });
    const { body } = await asked('GET', '/api/v1/namespaces/default/events');
    const items = Array.isArray(body?.items) ? body.items : [];
    assert.deepEqual(
      items
        .map((item) => [
          textAt(item, 'reason'),
          at(item, 'count'),
          textAt(item, 'involvedObject', 'kind'),
          textAt(item, 'involvedObject', 'uid'),
        ])
        .toSorted(),
      [
        ['KernelUnknown', 2, 'Node', n1().uid],
        ['Trusted', 1, 'Node', n1().uid],
      ],
    );
    // The API forgets Events.
    await asked('DELETE', '/api/v1/namespaces/default/events');
    await writer.event(n1(), event);
    const later = (await asked('GET', '/api/v1/namespaces/default/events')).body;
    assert.equal(Array.isArray(later?.items) && later.items.length, 1);
  });

  it('keeps what others wrote into its ConfigMap', async () => {
    const { writer, namespace } = room.kubernetes;
    assert.equal(namespace, 'assay');
    assert.equal(await writer.readConfig('assay-checkpoint'), null);
    await writer.writeConfig('assay-checkpoint', { checkpoint: 'one' });
    await asked('PUT', '/api/v1/namespaces/assay/configmaps/assay-checkpoint', {
      metadata: { name: 'assay-checkpoint', labels: { team: 'a' } },
      data: { checkpoint: 'one', note: 'of a person' },
    });
    await writer.writeConfig('assay-checkpoint', { checkpoint: 'two' });
    const { body } = await asked('GET', '/api/v1/namespaces/assay/configmaps/assay-checkpoint');
    assert.deepEqual(at(body, 'data'), { checkpoint: 'two', note: 'of a person' });
    assert.deepEqual(at(body, 'metadata', 'labels'), { team: 'a' });
    assert.deepEqual(await writer.readConfig('assay-checkpoint'), at(body, 'data'));
  });

  it('puts its authorities into a ConfigMap of the namespace of agents, and never makes that', async () => {
    const place = '/api/v1/namespaces/assay-agents/configmaps';
    await asked('POST', '/api/v1/namespaces', { metadata: { name: 'assay-agents' } });
    await using other = await opened(api, { authorityConfigMap: 'assay-agents/assay-authority' });
    const { authorities, faults } = other.kubernetes;
    assert.equal(room.kubernetes.authorities, null);
    assert.ok(authorities !== null);
    assert.equal(await authorities.read(), null);
    assert.equal((await refusal(authorities.write({ 'ca.crt': 'one' }))).reason, 'not_found');
    await asked('POST', place, { metadata: { name: 'assay-authority', labels: { team: 'a' } } });
    await authorities.write({ 'ca.crt': 'one' });
    const { body } = await asked('GET', `${place}/assay-authority`);
    assert.deepEqual(
      [at(body, 'data'), at(body, 'metadata', 'labels')],
      [{ 'ca.crt': 'one' }, { team: 'a' }],
    );
    assert.deepEqual(await authorities.read(), { 'ca.crt': 'one' });
    // The right to write its own ConfigMaps is another one.
    using _ = api.faults.add({ resource: 'configmaps', times: 1, effect: { kind: 'forbidden' } });
    assert.equal((await refusal(authorities.read())).reason, 'forbidden');
    await other.kubernetes.writer.writeConfig('assay-checkpoint', { checkpoint: 'one' });
    assert.ok(faults().some((text) => text.includes('get configmaps in the namespace assay-agents')));
    await authorities.read();
    assert.deepEqual(faults(), []);
  });

  it('reads DaemonSets and pods that wait for a node', async () => {
    const spec = { containers: [{ name: 'c', image: 'i' }], tolerations: [{ operator: 'Exists' }] };
    const selector = { matchLabels: { a: 'b' } };
    const template = { metadata: { labels: { a: 'b' } }, spec };
    // In a cluster a controller makes it.
    await asked('POST', '/api/v1/namespaces/assay/serviceaccounts', { metadata: { name: 'default' } });
    const made = [
      await asked('POST', '/apis/apps/v1/namespaces/assay/daemonsets', {
        metadata: { name: 'd1' },
        spec: { selector, template },
      }),
      await asked('POST', '/api/v1/namespaces/assay/pods', { metadata: { name: 'waits' }, spec }),
      await asked('POST', '/api/v1/namespaces/assay/pods', {
        metadata: { name: 'runs' },
        spec: { ...spec, nodeName: 'n1' },
      }),
    ];
    assert.deepEqual(
      made.map(({ code }) => code),
      [201, 201, 201],
    );
    const { daemonSets, pendingPods } = await room.kubernetes.writer.workloads();
    assert.deepEqual(daemonSets, [{ namespace: 'assay', name: 'd1', tolerations: [{ operator: 'Exists' }] }]);
    assert.deepEqual(
      pendingPods.map(({ name }) => name),
      ['waits'],
    );
  });
});

async function until(is: () => boolean): Promise<void> {
  const end = performance.now() + 10_000;
  while (!is()) {
    if (performance.now() > end) assert.fail(`never came: ${is}`);
    await sleep(5);
  }
}
