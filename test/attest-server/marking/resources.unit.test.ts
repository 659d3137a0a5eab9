import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { parse } from 'yaml';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { at, isObject, type Json, type JsonObject, listAt, textAt } from '../../../swtpm-fixtures/api-server/json.ts';
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
const aspects = { identity: { status: 'affirming', source: 'tpm' } } as const;

/** The reconciler and the requests that it makes, at the API server of the tests and with the definition as it is shipped. */
describe('the resource of a node', () => {
  let api: ApiServer;
  let room: Opened;
  let marked: MarkedCluster;
  before(async () => {
    api = await openApiServer({ rbac: false });
    await asked('POST', '/api/v1/namespaces', namespaceOfServer);
    await asked('POST', definitionsPath, parse(await readFile(definition, 'utf8')));
  });
  after(() => api?.[Symbol.asyncDispose]());
  beforeEach(async () => {
    for (const name of ['node-1', 'node-2', 'node-3']) await api.createNode(name);
    marked = await start();
  });
  afterEach(async () => {
    api.faults.clear();
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
      status && [textAt(status, 'state'), textAt(trusted ?? {}, 'status'), at(status, 'marks', 'trustedLabel') ?? null]
    );
  };
  /** A server that starts: of one before it nothing is left but what the cluster has. */
  async function start(states: MarkedCluster['statuses'] = new Map()): Promise<MarkedCluster> {
    room = await opened(api, {}, { requestWithin: 10_000 });
    await until(() => room.kubernetes.nodes.get('node-3') !== null);
    const { nodes, writer } = room.kubernetes;
    const started = new MarkedCluster({ nodes: 0, parts: { nodes, writer } });
    nodes.onChange((name) => started.reconciler.wake(name));
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
  });
});

async function until(is: () => boolean): Promise<void> {
  const end = performance.now() + 10_000;
  while (!is()) {
    if (performance.now() > end) assert.fail(`never came: ${is}`);
    await sleep(5);
  }
}
