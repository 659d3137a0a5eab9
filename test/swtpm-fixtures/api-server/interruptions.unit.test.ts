import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { at, type Json, type JsonObject, textAt } from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator } from '../../../swtpm-fixtures/api-server/users.ts';

const widgets = '/apis/example.com/v1/widgets';
const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

describe('interruptions of the API server of the tests', () => {
  let api: ApiServer;
  beforeEach(async () => {
    api = await openApiServer();
    await api.createNode('n1');
    api.setStorageStart(60_000);
  });
  afterEach(() => api[Symbol.asyncDispose]());

  const asked = (method: string, path: string, body?: Json, contentType?: string) =>
    api.as(administrator).request(method, path, body, contentType);
  const versionOf = async (path: string) =>
    textAt((await asked('GET', path)).body ?? {}, 'metadata', 'resourceVersion') ?? '';

  /** An open watch: what it sent until it ended, and whether it ended in order. */
  const watch = async (path: string, version: string) => {
    const headers = { authorization: `Bearer ${api.tokenOf(administrator)}` };
    const target = `${api.url}${path}?watch=true&resourceVersion=${version}`;
    const sent = request(target, { ca: api.authority, agent: false, headers }).end();
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      sent.once('response', resolve);
      sent.once('error', reject);
    });
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    // One that breaks says so by this, and closes.
    response.on('error', () => undefined);
    const closed = new Promise((resolve) => response.once('close', resolve));
    const ended = closed.then(() => ({
      isInOrder: response.complete,
      events: text
        .split('\n')
        .filter(Boolean)
        .map((line): Json => JSON.parse(line)),
    }));
    return { ended };
  };
  const typesOf = (events: readonly Json[]) => events.map((event) => textAt(event, 'type'));

  const define = (...names: readonly string[]): JsonObject => ({
    metadata: { name: 'widgets.example.com' },
    spec: {
      ...{ group: 'example.com', scope: 'Cluster', names: { plural: 'widgets', kind: 'Widget' } },
      versions: [
        {
          ...{ name: 'v1', served: true, storage: true },
          schema: {
            openAPIV3Schema: {
              type: 'object',
              properties: Object.fromEntries(names.map((name) => [name, { type: 'string' }])),
            },
          },
        },
      ],
    },
  });

  it('a server that is told to end lets nobody new in, and its watches go on until they end in order', async () => {
    const { ended } = await watch('/api/v1/nodes', await versionOf('/api/v1/nodes'));
    const stopped = api.stop({ graceful: 600 });
    await assert.rejects(watch('/api/v1/nodes', '0'), { code: 'ECONNREFUSED' });
    await delay(100);
    // By another server of the same cluster.
    await api.createNode('n2');
    const { isInOrder, events } = await ended;
    assert.deepEqual([isInOrder, typesOf(events)[0]], [true, 'ADDED']);
    await stopped;
    assert.equal(api.watches, 0);
  });

  it('a server that is killed breaks its watches', async () => {
    const { ended } = await watch('/api/v1/nodes', await versionOf('/api/v1/nodes'));
    await api.stop();
    assert.equal((await ended).isInOrder, false);
  });

  it('no watch goes back to before a restart, and one from its version on misses nothing', async () => {
    const before = await versionOf('/api/v1/nodes');
    await api.createNode('n2');
    await api.stop();
    await api.start();
    const late = await (await watch('/api/v1/nodes', before)).ended;
    assert.deepEqual(typesOf(late.events), ['ERROR']);
    assert.equal(at(late.events[0], 'object', 'code'), 410);
    const { ended } = await watch('/api/v1/nodes', await versionOf('/api/v1/nodes'));
    await api.createNode('n3');
    await delay(50);
    api.dropWatches('end');
    assert.equal(typesOf((await ended).events)[0], 'ADDED');
  });

  it('the storage of a new definition starts with the first request, and lists wait for it', async () => {
    assert.equal((await asked('POST', definitions, define('a'))).code, 201);
    assert.equal((await asked('POST', widgets, { metadata: { name: 'w' }, a: '1' })).code, 201);
    const { code, body } = await asked('GET', widgets);
    assert.deepEqual([code, at(body ?? {}, 'details', 'retryAfterSeconds')], [429, 1]);
    assert.equal((await asked('GET', `${widgets}/w`)).code, 200);
    api.setClockSkew(61_000);
    assert.equal((await asked('GET', widgets)).code, 200);
  });

  it('a definition that changes ends the watches of its objects, and none goes back to before', async () => {
    await asked('POST', definitions, define('a'));
    await asked('GET', widgets);
    api.setClockSkew(61_000);
    const version = await versionOf(widgets);
    const { ended } = await watch(widgets, version);
    await asked('POST', widgets, { metadata: { name: 'w' }, a: '1' });
    const path = `${definitions}/widgets.example.com`;
    const patch = [
      {
        op: 'add',
        path: '/spec/versions/0/schema/openAPIV3Schema/properties/b',
        value: { type: 'string' },
      },
    ];
    assert.equal((await asked('PATCH', path, patch, 'application/json-patch+json')).code, 200);
    const { isInOrder, events } = await ended;
    assert.deepEqual([isInOrder, typesOf(events)], [true, ['ADDED']]);
    assert.equal((await asked('GET', widgets)).code, 429);
    api.setClockSkew(122_000);
    const late = await (await watch(widgets, version)).ended;
    assert.equal(at(late.events[0], 'object', 'code'), 410);
  });
});
