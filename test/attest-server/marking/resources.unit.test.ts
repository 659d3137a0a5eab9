import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { parse } from 'yaml';
import { trustedLabel } from '../../../attest-server/formats/marks.ts';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import {
  at,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  textAt,
} from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator, serviceAccount } from '../../../swtpm-fixtures/api-server/users.ts';
import { namespaceOfServer } from '../kubernetes/namespace-of-server.ts';
import { type Opened, opened } from '../kubernetes/opened.ts';
import { definitionsPath } from './defined-resources.ts';
import { MarkedCluster } from './marked-cluster.ts';

const definition = join(import.meta.dirname, '../../../manifests/base/crds/nodeattestations.yaml');
const attestations = '/apis/assay.dev/v1alpha1/nodeattestations';
const server = serviceAccount('assay', 'assay-server');
const second = 1000;
const minute = 60 * second;
const overdue = { state: 'unknown', codes: ['evidence_overdue'] } as const;
const failed = { state: 'untrusted', codes: ['counter_rollback'] } as const;
const resource = 'nodeattestations';
const merge = 'application/merge-patch+json';
const aspects = { identity: { status: 'affirming', source: 'tpm' } } as const;

const untrustedCondition = {
  type: 'Trusted',
  status: 'False',
  reason: 'CounterRollback',
  message: '',
  lastTransitionTime: '2026-11-27T00:00:00Z',
} as const;
const text = readFileSync(definition, 'utf8');
const shipped = definedBy(text);
/** As a version of before may define them, which a server that is newer does not know of. */
const withoutMarks = definedBy(text.replace(/^( +)marks:$/m, '$1earlier:'));
const withoutUnknown = definedBy(text.replace('trusted, untrusted, unknown,', 'trusted, untrusted,'));
const described = definedBy(text.replace('State of the node.', 'State of the Node.'));

/** The reconciler and the requests that it makes, at the API server of the tests and with the definition as it is shipped. */
describe('the resource of a node', () => {
  let api: ApiServer;
  let room: Opened;
  let marked: MarkedCluster;
  before(async () => {
    api = await openApiServer({ rbac: false });
    await asked('POST', '/api/v1/namespaces', namespaceOfServer);
    await asked('POST', definitionsPath, shipped);
  });
  after(() => api?.[Symbol.asyncDispose]());
  beforeEach(async () => {
    for (const name of ['node-1', 'node-2', 'node-3']) await api.createNode(name);
    marked = await start();
  });
  afterEach(async () => {
    api.faults.clear();
    await define();
    await stop();
    await asked('DELETE', '/api/v1/nodes');
    await asked('DELETE', attestations);
  });
  const asked = (method: string, path: string, body?: Json, contentType?: string) =>
    api.as(administrator).request(method, path, body, contentType);
  const statusOf = async (node: string): Promise<JsonObject | null> => {
    const { code, body } = await asked('GET', `${attestations}/${node}`);
    const status = at(body, 'status');
    if (code === 404) return null;
    return isObject(status) ? status : {};
  };
  const shown = async (node: string) => {
    const status = await statusOf(node);
    const trusted = listAt(status ?? {}, 'conditions').find((one) => textAt(one, 'type') === 'Trusted');
    return (
      status && [
        textAt(status, 'state'),
        textAt(trusted ?? {}, 'status'),
        at(status, 'marks', 'trustedLabel') ?? null,
      ]
    );
  };
  const define = async (wanted: JsonObject = shipped) => {
    const path = `${definitionsPath}/nodeattestations.assay.dev`;
    const { body } = await asked('GET', path);
    const { code, text } = await asked('PUT', path, { ...body, spec: wanted.spec ?? {} });
    assert.equal(code, 200, text);
  };
  /** A server that starts: of one before it nothing is left but what the cluster has. */
  async function start(states: MarkedCluster['statuses'] = new Map()): Promise<MarkedCluster> {
    room = await opened(api, {}, { requestWithin: 10_000 });
    await until(() => room.kubernetes.nodes.get('node-3') !== null);
    const { nodes, writer } = room.kubernetes;
    const started = new MarkedCluster({ nodes: 0, parts: { nodes, writer } });
    nodes.onChange((name) => started.reconciler.queue.add(name));
    for (const name of ['node-1', 'node-2', 'node-3']) {
      started.commit(name, { state: 'trusted' });
      const status = started.statuses.get(name);
      if (status?.verdict) started.statuses.set(name, { ...status, verdict: { ...status.verdict, aspects } });
    }
    for (const [name, status] of states) started.statuses.set(name, status);
    await started.settle();
    return started;
  }
  async function stop(): Promise<void> {
    await marked.reconciler.close();
    assert.deepEqual(marked.faults, []);
    await room[Symbol.asyncDispose]();
  }

  it('says trusted while the node is, and no longer once it is silent', async () => {
    assert.deepEqual(await shown('node-1'), ['trusted', 'True', true]);
    assert.deepEqual(at((await statusOf('node-1')) ?? {}, 'aspects'), aspects);
    marked.commit('node-1', overdue);
    await marked.pass(5 * second);
    assert.deepEqual(await shown('node-1'), ['unknown', 'Unknown', false]);
    assert.equal(marked.reconciler.shown('node-1')?.resource, null);
  });

  it('says pending of a node whose enrolment was revoked', async () => {
    marked.statuses.delete('node-1');
    marked.reconciler.queue.add('node-1');
    await marked.settle();
    assert.deepEqual(await shown('node-1'), ['pending', 'Unknown', false]);
  });

  it('takes a map without keys, as servers of before apply it', async () => {
    const { writer, nodes } = room.kubernetes;
    await writer.applyAttestation(
      nodes.get('node-1') ?? assert.fail(),
      { state: 'unknown', aspects: {} },
      true,
    );
    assert.equal((await statusOf('node-1'))?.state, 'unknown');
  });

  it('is put right at once where an earlier server left it green, and is left alone where it is right', async () => {
    await stop();
    const silent = marked.statuses.get('node-1') ?? assert.fail();
    api.log.clear();
    marked = await start(new Map([['node-1', { ...silent, expiresAt: 0 }]]));
    assert.deepEqual(await shown('node-1'), ['unknown', 'Unknown', false]);
    assert.deepEqual(
      api.log.writes({ resource }).map(({ name }) => name),
      ['node-1'],
    );
  });

  it('is put right at once where only its label, its condition or its group is of before', async () => {
    for (const lie of [
      { marks: { trustedLabel: true } },
      { conditions: [{ ...untrustedCondition, status: 'True' }] },
      { group: 'another' },
    ]) {
      marked.commit('node-1', failed);
      await marked.settle();
      await stop();
      const { statuses } = marked;
      const reply = await asked('PATCH', `${attestations}/node-1/status`, { status: lie }, merge);
      assert.equal(reply.code, 200, reply.text);
      marked = await start(statuses);
      assert.deepEqual(await shown('node-1'), ['untrusted', 'False', false]);
      assert.equal((await statusOf('node-1'))?.group, 'workers');
    }
  });

  it('keeps nothing that somebody else wrote there and it does not say itself', async () => {
    for (const lie of [
      { aspects: { ...aspects, boot: { status: 'affirming', source: 'tpm' } } },
      { selfReported: ['boot'] },
      { marks: { suppressed: 'exempt' } },
      { conditions: [{ ...untrustedCondition, type: 'Ready', status: 'True' }] },
    ]) {
      const reply = await asked('PATCH', `${attestations}/node-1/status`, { status: lie }, merge);
      assert.equal(reply.code, 200, reply.text);
      for (const node of ['node-1', 'node-2']) marked.commit(node, overdue);
      await marked.settle();
      assert.equal((await statusOf('node-2'))?.state, 'unknown');
      assert.deepEqual(await statusOf('node-1'), await statusOf('node-2'));
      for (const node of ['node-1', 'node-2']) marked.commit(node, { state: 'trusted' });
      await marked.settle();
    }
  });

  it('does not outlive its Node where a server ended between its two requests', async () => {
    const { statuses } = marked;
    await stop();
    const name = 'node-4';
    const empty = { apiVersion: 'assay.dev/v1alpha1', kind: 'NodeAttestation', metadata: { name } };
    const { code } = await asked('POST', attestations, empty);
    assert.equal(code, 201);
    marked = await start(statuses);
    assert.equal(await statusOf(name), null);
  });

  it('does not outlive its Node, although another one is refused and a removal fails', async () => {
    using _one = api.faults.add({ verbs: ['delete'], resource, times: 2, effect: { kind: 'failed' } });
    await define(withoutMarks);
    marked.commit('node-2', overdue);
    await marked.settle();
    await asked('DELETE', '/api/v1/nodes/node-1');
    await until(() => room.kubernetes.nodes.get('node-1') === null);
    await marked.pass(20 * second);
    assert.equal(await statusOf('node-1'), null);
  });

  it('is reduced to the state where the API takes no more, as by an older definition', async () => {
    await define(withoutMarks);
    marked.commit('node-1', overdue);
    await marked.pass(10 * second);
    assert.deepEqual(await statusOf('node-1'), {
      state: 'unknown',
      conditions: [{ ...untrustedCondition, status: 'Unknown', reason: 'Unknown' }],
    });
    const { reconciler } = marked;
    assert.equal(reconciler.shown('node-1')?.resource?.shows, 'least');
    assert.deepEqual([...reconciler.publication.countWrong()], [['least', 1]]);
    assert.match(
      reconciler.publication.faults().join(),
      /of 1 nodes \(node-1\).*field not declared in schema/,
    );
    // From then on the next transition is reduced at once, and nothing is asked in a loop.
    marked.commit('node-1', failed);
    await marked.settle();
    assert.equal((await statusOf('node-1'))?.state, 'untrusted');
    const before = api.log.requests({ user: server.name });
    await marked.pass(30 * minute);
    assert.ok(api.log.requests({ user: server.name }) - before <= 4);
    await define();
    await marked.pass(11 * minute);
    assert.deepEqual(await shown('node-1'), ['untrusted', 'False', false]);
    assert.equal(reconciler.shown('node-1')?.resource, null);
  });

  it('is removed where the API takes not even the state', async () => {
    await define(withoutUnknown);
    marked.commit('node-1', overdue);
    await marked.pass(10 * second);
    assert.equal(await statusOf('node-1'), null);
    assert.equal(marked.reconciler.shown('node-1')?.resource?.shows, 'none');
    assert.deepEqual(await shown('node-2'), ['trusted', 'True', true]);
    marked.commit('node-1', failed);
    await marked.settle();
    assert.deepEqual(await shown('node-1'), ['untrusted', 'False', false]);
    assert.equal(marked.reconciler.shown('node-1')?.resource, null);
  });

  it('is written although nobody may list them', async () => {
    await stop();
    using _ = api.faults.add({ verbs: ['list'], resource, effect: { kind: 'forbidden' } });
    const silent = marked.statuses.get('node-1') ?? assert.fail();
    marked = await start(new Map([['node-1', { ...silent, expiresAt: 0 }]]));
    await marked.pass(20 * second);
    assert.deepEqual(await shown('node-1'), ['unknown', 'Unknown', false]);
    assert.match(marked.reconciler.publication.faults().join(), /cannot be listed/);
  });

  it('follows when its definition changes under the server: 429 for seconds, and watches that end with 410', async () => {
    await stop();
    const { statuses } = marked;
    using _ = api.faults.add({
      resource,
      times: 8,
      effect: { kind: 'too_many', retryAfterSeconds: 1 },
    });
    marked = await start(statuses);
    await define(described);
    api.forgetHistory();
    api.dropWatches('expire');
    marked.commit('node-1', overdue);
    await marked.settle();
    // Marks wait for no resource.
    const { metadata } = api.store.get('/nodes', 'node-1')?.object ?? assert.fail();
    assert.equal(metadata.labels?.[trustedLabel], undefined);
    await marked.pass(30 * second);
    assert.deepEqual(await shown('node-1'), ['unknown', 'Unknown', false]);
    await api.createNode('node-8');
    await until(() => room.kubernetes.nodes.get('node-8') !== null);
    await marked.settle();
    assert.deepEqual(await shown('node-8'), ['pending', 'Unknown', false]);
    assert.deepEqual([...marked.reconciler.publication.countWrong()], []);
  });

  it('comes back where its definition was removed and made anew', async () => {
    await asked('DELETE', `${definitionsPath}/nodeattestations.assay.dev`);
    marked.commit('node-1', overdue);
    await marked.pass(10 * second);
    assert.equal(marked.reconciler.shown('node-1')?.resource?.shows, 'old');
    assert.match(marked.reconciler.publication.faults().join(), /apply manifests\/base\/crds/);
    await asked('POST', definitionsPath, shipped);
    await marked.pass(2 * minute);
    assert.deepEqual(await shown('node-1'), ['unknown', 'Unknown', false]);
    assert.deepEqual(await shown('node-2'), ['trusted', 'True', true]);
  });

  it('costs a new Node four requests, of which none is for what is not there', async () => {
    const asking = room.asked.length;
    await api.createNode('node-9');
    await until(() => room.kubernetes.nodes.get('node-9') !== null);
    await marked.settle();
    assert.deepEqual(room.asked.slice(asking).toSorted(), [
      'apply nodeattestations.assay.dev 201',
      'apply nodeattestations.assay.dev/status 200',
      'patch nodes 200',
      'patch nodes/status 200',
    ]);
  });

  it('keeps no mark waiting, however slow resources are', async () => {
    api.faults.add({ resource, effect: { kind: 'latency', ms: 1500 } });
    const names = Array.from({ length: 40 }, (_, index) => `node-${index + 10}`);
    for (const name of names) await api.createNode(name);
    const isMarked = (name: string) => {
      const { spec } = api.store.get('/nodes', name)?.object ?? assert.fail(name);
      return listAt(spec, 'taints').length === 1;
    };
    await until(() => room.kubernetes.nodes.get('node-49') !== null);
    const begun = performance.now();
    const settled = marked.settle();
    await until(() => names.every(isMarked));
    const took = performance.now() - begun;
    assert.ok(took < 5000, `${Math.round(took)} ms`);
    api.faults.clear();
    await settled;
  });
});

function definedBy(yaml: string): JsonObject {
  const object: unknown = parse(yaml);
  assert.ok(isObject(object));
  return object;
}

async function until(is: () => boolean): Promise<void> {
  const end = performance.now() + 10_000;
  while (!is()) {
    if (performance.now() > end) assert.fail(`never came: ${is}`);
    await sleep(5);
  }
}
