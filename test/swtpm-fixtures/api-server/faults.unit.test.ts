import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import {
  CoreV1Api,
  KubeConfig,
  type KubernetesListObject,
  makeInformer,
  type V1Node,
} from '@kubernetes/client-node';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { textAt } from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator, operator } from '../../../swtpm-fixtures/api-server/users.ts';

const merge = 'application/merge-patch+json';
const somebody = operator('somebody', 'system:masters');

describe('what goes wrong at the API server of the tests', () => {
  let api: ApiServer;
  beforeEach(async () => {
    api = await openApiServer({ bookmarkEvery: 50, history: 5 });
    await api.createNode('n1');
  });
  afterEach(() => api[Symbol.asyncDispose]());
  const core = async () => {
    const config = new KubeConfig();
    config.loadFromFile(await api.kubeconfig(somebody));
    return config.makeApiClient(CoreV1Api);
  };

  it('an informer goes on after watches end, connections break, the history is forgotten and the server restarts', async () => {
    const config = new KubeConfig();
    config.loadFromFile(await api.kubeconfig(somebody));
    const client = config.makeApiClient(CoreV1Api);
    const list = (): Promise<KubernetesListObject<V1Node>> => client.listNode();
    const informer = makeInformer(config, '/api/v1/nodes', list);
    const seen = new Map<string, () => void>();
    const known = new Set<string>();
    for (const event of ['add', 'update'] as const) {
      informer.on(event, (node: V1Node) => {
        const name = node.metadata?.name ?? '';
        known.add(name);
        seen.get(name)?.();
      });
    }
    informer.on('error', () => setTimeout(() => informer.start(), 20));
    const appears = (name: string) =>
      new Promise<void>((resolve) => (known.has(name) ? resolve() : seen.set(name, resolve)));
    await informer.start();
    await appears('n1');
    await api.createNode('n2');
    await appears('n2');
    for (const [index, how] of (['end', 'destroy', 'expire'] as const).entries()) {
      api.dropWatches(how, 'nodes');
      await api.createNode(`m${index}`);
      await appears(`m${index}`);
    }
    for (let index = 0; index < 20; index += 1) await api.createNode(`many-${index}`);
    api.forgetHistory();
    await appears('many-19');
    await api.stop();
    await api.createNode('while-stopped');
    await api.start();
    await appears('while-stopped');
    await informer.stop();
  });

  it('every third write conflicts, and nothing is written by it', async () => {
    const client = await core();
    using _ = api.faults.add({ verbs: ['patch'], resource: 'nodes', every: 3, effect: { kind: 'conflict' } });
    const codes: (number | undefined)[] = [];
    for (let index = 0; index < 6; index += 1) {
      const patch = [{ op: 'add', path: '/metadata/labels/a', value: String(index) }];
      codes.push(
        await client.patchNode({ name: 'n1', body: patch }).then(
          () => 200,
          (error: unknown) => codeOf(error),
        ),
      );
    }
    assert.deepEqual(codes, [409, 200, 200, 409, 200, 200]);
    assert.equal(api.log.writes({ user: 'somebody' }).length, 4);
    assert.equal(api.log.requests({ verb: 'patch', resource: 'nodes', code: 409 }), 2);
  });

  it('a write is done although its answer never comes', async () => {
    const client = await core();
    using _ = api.faults.add({ verbs: ['delete'], effect: { kind: 'drop_answer' } });
    await assert.rejects(client.deleteNode({ name: 'n1' }));
    assert.equal(api.store.get('/nodes', 'n1'), null);
  });

  it('a right is gone for a while, and so is the whole server', async () => {
    const client = await core();
    const code = async () => client.readNode({ name: 'n1' }).then(() => 200, codeOf);
    {
      using _ = api.faults.add({ verbs: ['get'], resource: 'nodes', effect: { kind: 'forbidden' } });
      assert.equal(await code(), 403);
    }
    {
      using _ = api.faults.add({ effect: { kind: 'unavailable' } });
      assert.equal(await code(), 503);
    }
    {
      using _ = api.faults.add({ effect: { kind: 'failed' } });
      assert.equal(await code(), 500);
    }
    assert.equal(await code(), 200);
  });

  it('answers are late by the time that was said', async () => {
    const client = await core();
    await client.readNode({ name: 'n1' });
    using _ = api.faults.add({ verbs: ['get'], effect: { kind: 'hang', ms: 150 } });
    const begin = performance.now();
    await client.readNode({ name: 'n1' });
    assert.ok(performance.now() - begin >= 145);
  });

  it('too many requests are told when to come again, and a wrong clock shows in the header and in objects', async () => {
    using _ = api.faults.add({ verbs: ['list'], effect: { kind: 'too_many', retryAfterSeconds: 7 } });
    const refused = await rawGet(api, '/api/v1/nodes');
    assert.deepEqual([refused.statusCode, refused.headers['retry-after']], [429, '7']);
    api.setClockSkew(-3_600_000);
    const { headers } = await rawGet(api, '/version');
    assert.ok(Date.now() - Date.parse(headers.date ?? '') > 3_500_000);
    const { metadata } = await api.createNode('n3');
    assert.ok(Date.now() - Date.parse(metadata.creationTimestamp) > 3_500_000);
  });

  it('a list of a version that is not there yet, and a body that is too long or no JSON, are refused', async () => {
    const asked = (method: string, path: string) => api.as(administrator).request(method, path);
    const ahead = await asked('GET', '/api/v1/nodes?resourceVersion=999999');
    assert.deepEqual([ahead.code, ahead.body?.reason], [504, 'Timeout']);
    assert.equal((await asked('GET', '/api/v1/nodes?resourceVersion=x')).code, 400);
    assert.equal((await asked('GET', '/api/v1/nodes?watch=1&sendInitialEvents=true')).code, 422);
    assert.equal((await asked('GET', '/api/v1/nothing')).code, 404);
    assert.equal((await asked('GET', '/api/v1/nodes/n1/nothing')).code, 404);
    assert.equal((await asked('GET', '/nothing')).code, 404);
    assert.equal((await asked('POST', '/api/v1/nodes')).code, 400);
    const odd = await api.as(administrator).request('PATCH', '/api/v1/nodes/n1', {}, 'text/plain');
    assert.equal(odd.code, 415);
  });

  it('finalizers hold an object, preconditions protect it, and a collection goes by its labels', async () => {
    const asked = (
      method: string,
      path: string,
      body?: Parameters<ReturnType<ApiServer['as']>['request']>[2],
    ) =>
      api
        .as(administrator)
        .request(method, `/api/v1/nodes${path}`, body, method === 'PATCH' ? merge : undefined);
    await asked('PATCH', '/n1', { metadata: { finalizers: ['example.com/hold'], labels: { a: 'b' } } });
    const stale = await asked('DELETE', '/n1', { preconditions: { uid: 'another' } });
    assert.deepEqual([stale.code, stale.body?.reason], [409, 'Conflict']);
    const { body } = await asked('DELETE', '/n1');
    assert.ok(textAt(body ?? {}, 'metadata', 'deletionTimestamp'));
    assert.equal((await asked('PATCH', '/n1', { metadata: { finalizers: ['example.com/more'] } })).code, 422);
    await asked('PATCH', '/n1', { metadata: { finalizers: null } });
    assert.equal((await asked('GET', '/n1')).code, 404);
    for (const name of ['n2', 'n3']) await api.createNode(name, { labels: { a: name } });
    await asked('DELETE', '?labelSelector=a%20in%20(n2)');
    assert.deepEqual([(await asked('GET', '/n2')).code, (await asked('GET', '/n3')).code], [404, 200]);
  });
});

function codeOf(error: unknown): number | undefined {
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'number'
    ? error.code
    : undefined;
}

/** Without a client in between. */
async function rawGet(api: ApiServer, path: string): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const headers = { authorization: `Bearer ${api.tokenOf(somebody)}` };
  const asked = request(`${api.url}${path}`, { ca: api.authority, headers, agent: false }, resolve);
  asked.once('error', reject);
  asked.end();
  const response = await promise;
  response.resume();
  return response;
}
