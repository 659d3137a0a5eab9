import assert from 'node:assert/strict';
import { request } from 'node:https';
import { CoreV1Api, KubeConfig, type V1Node, Watch } from '@kubernetes/client-node';
import { after, before, beforeEach, describe, it } from 'mocha';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { type Json, listAt, textAt } from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator, kubelet, operator } from '../../../swtpm-fixtures/api-server/users.ts';

const jsonPatch = 'application/json-patch+json';
const taint = { key: 'example.com/a', value: 'b', effect: 'NoSchedule' };

describe('nodes of the API server of the tests', () => {
  let api: ApiServer;
  before(async () => {
    api = await openApiServer({ bookmarkEvery: 50 });
  });
  after(() => api[Symbol.asyncDispose]());
  beforeEach(async () => {
    await api.as(administrator).request('DELETE', '/api/v1/nodes');
    await api.createNode('n1');
    api.faults.clear();
    api.log.clear();
  });
  const asked = (method: string, path: string, body?: Json, type?: string) =>
    api.as(administrator).request(method, `/api/v1/${path}`, body, type);

  it('is reached by the client of Kubernetes through a kubeconfig, and tells nobody without a token anything', async () => {
    const core = await clientOf(api);
    const made = await core.createNode({ body: { metadata: { name: 'n2' } } });
    assert.match(made.metadata?.uid ?? '', /^[0-9a-f-]{36}$/);
    assert.deepEqual(
      (await core.listNode()).items.map(({ metadata }) => metadata?.name),
      ['n1', 'n2'],
    );
    await core.deleteNode({ name: 'n2' });
    await assert.rejects(core.readNode({ name: 'n2' }), hasCode(404));
    assert.equal(api.log.requests({ verb: 'get', resource: 'nodes', code: 404 }), 1);

    const config = new KubeConfig();
    config.loadFromFile(await api.kubeconfig(administrator));
    config.users = config.users.map((user) => ({ ...user, token: 'of nobody' }));
    await assert.rejects(config.makeApiClient(CoreV1Api).listNode(), hasCode(401));
  });

  it('refuses a JSON patch whose test fails with 422 and no hint of which, and leaves the node alone', async () => {
    const before = api.store.get('/nodes', 'n1')?.text();
    const reply = await asked(
      'PATCH',
      'nodes/n1',
      [
        { op: 'add', path: '/spec/taints', value: [taint] },
        { op: 'test', path: '/metadata/resourceVersion', value: '1' },
      ],
      jsonPatch,
    );
    assert.deepEqual(
      [reply.code, reply.body?.reason, reply.body?.message],
      [422, 'Invalid', 'the server rejected our request due to an error in our request'],
    );
    assert.equal(api.store.get('/nodes', 'n1')?.text(), before);
  });

  it('refuses a JSON patch of more than 10,000 operations', async () => {
    const operations = Array.from({ length: 10_001 }, () => ({ op: 'test', path: '/kind', value: 'Node' }));
    const { code, body } = await asked('PATCH', 'nodes/n1', operations, jsonPatch);
    assert.deepEqual([code, body?.reason], [413, 'RequestEntityTooLarge']);
    assert.equal((await asked('PATCH', 'nodes/n1', operations.slice(1), jsonPatch)).code, 200);
  });

  it('takes the list of taints away with the last one, so that nothing can be appended to it', async () => {
    const append = [{ op: 'add', path: '/spec/taints/-', value: taint }];
    assert.equal((await asked('PATCH', 'nodes/n1', append, jsonPatch)).code, 422);
    const set = [{ op: 'add', path: '/spec/taints', value: [taint] }];
    assert.equal((await asked('PATCH', 'nodes/n1', set, jsonPatch)).code, 200);
    const empty = [{ op: 'remove', path: '/spec/taints/0' }];
    const { body } = await asked('PATCH', 'nodes/n1', empty, jsonPatch);
    assert.deepEqual(body?.spec, {});
  });

  it('refuses a whole update for one duplicate taint', async () => {
    const twice = [{ op: 'add', path: '/spec/taints', value: [taint, { ...taint, value: 'c' }] }];
    const { code, body } = await asked('PATCH', 'nodes/n1', twice, jsonPatch);
    assert.deepEqual([code, body?.reason], [422, 'Invalid']);
    assert.match(
      String(body?.message),
      /metadata\.taints\[1\]: Duplicate value: .*taints must be unique by key and effect pair/,
    );
  });

  it('replaces taints as a whole by a strategic merge, and merges conditions by their type', async () => {
    const strategic = 'application/strategic-merge-patch+json';
    await asked('PATCH', 'nodes/n1', { spec: { taints: [taint] } }, strategic);
    const other = { key: 'example.com/other', effect: 'NoSchedule' };
    const { body } = await asked('PATCH', 'nodes/n1', { spec: { taints: [other] } }, strategic);
    assert.deepEqual(body?.spec, { taints: [other] });

    const condition = { type: 'example.com/C', status: 'True' };
    await asked('PATCH', 'nodes/n1/status', { status: { conditions: [condition] } }, strategic);
    const { body: read } = await asked('GET', 'nodes/n1');
    const types = listAt(read ?? {}, 'status', 'conditions').map((item) => textAt(item, 'type'));
    // What a patch brings stands before what it does not name.
    assert.deepEqual(types, ['example.com/C', 'MemoryPressure', 'DiskPressure', 'PIDPressure', 'Ready']);
  });

  it('changes spec and status each by its own door, and labels by both', async () => {
    const both = { metadata: { labels: { a: 'b' } }, spec: { unschedulable: true }, status: { phase: 'X' } };
    const merge = 'application/merge-patch+json';
    const { body: main } = await asked('PATCH', 'nodes/n1', both, merge);
    assert.deepEqual(
      [textAt(main ?? {}, 'status', 'phase'), main?.spec],
      [undefined, { unschedulable: true }],
    );
    const again = { ...both, metadata: { labels: { c: 'd' } }, spec: { unschedulable: null } };
    const { body: status } = await asked('PATCH', 'nodes/n1/status', again, merge);
    assert.equal(textAt(status ?? {}, 'metadata', 'labels', 'c'), 'd');
    assert.deepEqual([textAt(status ?? {}, 'status', 'phase'), status?.spec], ['X', { unschedulable: true }]);
  });

  it('answers 409 to an update of an older version, and makes no version where nothing changes', async () => {
    const { body: first } = await asked('GET', 'nodes/n1');
    const labelled = { metadata: { labels: { a: 'b' } } };
    const merge = 'application/merge-patch+json';
    await asked('PATCH', 'nodes/n1', labelled, merge);
    const { code, body } = await asked('PUT', 'nodes/n1', first ?? {});
    assert.deepEqual([code, body?.reason], [409, 'Conflict']);
    const { revision } = api.store;
    assert.equal((await asked('PATCH', 'nodes/n1', labelled, merge)).code, 200);
    assert.equal(api.store.revision, revision);
    const stale = { metadata: { resourceVersion: '1', labels: { a: 'c' } } };
    assert.equal((await asked('PATCH', 'nodes/n1', stale, merge)).code, 409);
  });

  it('lets a kubelet write conditions and ordinary labels of its own node, and no taint or protected label', async () => {
    const patch = async (path: string, body: Json) =>
      (
        await api
          .as(kubelet('n1'))
          .request('PATCH', `/api/v1/nodes/${path}`, body, 'application/merge-patch+json')
      ).code;
    await api.createNode('n2');
    const protectedLabel = 'assay.node-restriction.kubernetes.io/trusted';
    assert.deepEqual(
      [
        await patch('n1', { metadata: { labels: { 'example.com/mine': 'x' }, annotations: { a: 'b' } } }),
        await patch('n1/status', { status: { conditions: [{ type: 'Ready', status: 'False' }] } }),
        await patch('n1', { metadata: { labels: { [protectedLabel]: 'true' } } }),
        await patch('n1/status', { metadata: { labels: { [protectedLabel]: 'true' } } }),
        await patch('n1', { metadata: { labels: { 'kubernetes.io/unknown': 'x' } } }),
        await patch('n1', { spec: { taints: [taint] } }),
        await patch('n2', { metadata: { labels: { a: 'b' } } }),
        (await api.as(kubelet('n1')).request('DELETE', '/api/v1/nodes/n1')).code,
        (
          await api
            .as(kubelet('n3'))
            .request('POST', '/api/v1/nodes', { metadata: { name: 'n3' }, spec: { taints: [taint] } })
        ).code,
      ],
      [200, 200, 403, 403, 403, 403, 403, 403, 201],
    );
  });

  it('tells who may do nothing what he may not do', async () => {
    const { code, body } = await api.as(operator('eve')).request('GET', '/api/v1/nodes');
    assert.equal(code, 403);
    assert.equal(
      body?.message,
      'nodes is forbidden: User "eve" cannot list resource "nodes" in API group "" at the cluster scope',
    );
  });

  it('tells watches each change with its version, sends bookmarks, and 410 once the history is forgotten', async () => {
    const config = new KubeConfig();
    config.loadFromFile(await api.kubeconfig(administrator));
    const events: string[] = [];
    let version = String(api.store.revision);
    const seen = await new Promise<string>((resolve, reject) => {
      new Watch(config)
        .watch(
          '/api/v1/nodes',
          { resourceVersion: version, allowWatchBookmarks: true, labelSelector: 'a=b' },
          (type: string, node: V1Node) => {
            events.push(type);
            version = node.metadata?.resourceVersion ?? '';
            if (type === 'BOOKMARK' && events.includes('DELETED')) resolve(version);
          },
          (error: unknown) => reject(error instanceof Error ? error : new Error('the watch ended')),
        )
        .catch(reject);
      const merge = 'application/merge-patch+json';
      asked('PATCH', 'nodes/n1', { metadata: { labels: { a: 'b' } } }, merge)
        .then(() => asked('PATCH', 'nodes/n1', { spec: { unschedulable: true } }, merge))
        .then(() => asked('PATCH', 'nodes/n1', { metadata: { labels: { a: null } } }, merge))
        .catch(reject);
    });
    assert.deepEqual(
      events.filter((type) => type !== 'BOOKMARK'),
      ['ADDED', 'MODIFIED', 'DELETED'],
    );
    assert.equal(seen, String(api.store.revision));

    await api.createNode('n2');
    api.forgetHistory();
    const gone = await new Promise<{ type: string; code: number }>((resolve, reject) => {
      new Watch(config)
        .watch(
          '/api/v1/nodes',
          { resourceVersion: seen },
          (type: string, object: { code: number }) => resolve({ type, code: object.code }),
          () => reject(new Error('the watch ended without an event')),
        )
        .catch(reject);
    });
    assert.deepEqual(gone, { type: 'ERROR', code: 410 });
  });

  it('lists in pages that belong together', async () => {
    for (const name of ['n2', 'n3']) await api.createNode(name);
    const { body: first } = await asked('GET', 'nodes?limit=2');
    const token = textAt(first ?? {}, 'metadata', 'continue') ?? '';
    await api.createNode('n9');
    const { body: second } = await asked('GET', `nodes?limit=2&continue=${encodeURIComponent(token)}`);
    const names = [first, second].flatMap((body) =>
      listAt(body ?? {}, 'items').map((item) => textAt(item, 'metadata', 'name')),
    );
    assert.equal(
      textAt(first ?? {}, 'metadata', 'resourceVersion'),
      textAt(second ?? {}, 'metadata', 'resourceVersion'),
    );
    assert.deepEqual(names, ['n1', 'n2', 'n3']);
    api.compact();
    const late = await asked('GET', `nodes?limit=2&continue=${encodeURIComponent(token)}`);
    assert.equal(late.code, 410);
    // What it offers instead goes on at the newest version.
    const next = textAt(late.body ?? {}, 'metadata', 'continue') ?? '';
    const { body: rest } = await asked('GET', `nodes?limit=9&continue=${encodeURIComponent(next)}`);
    assert.deepEqual(
      listAt(rest ?? {}, 'items').map((item) => textAt(item, 'metadata', 'name')),
      ['n3', 'n9'],
    );
  });

  it('deletes nothing whose answer it could not give', async () => {
    const headers = { authorization: `Bearer ${api.tokenOf(administrator)}`, accept: 'text/csv' };
    const code = await new Promise((resolve, reject) => {
      const options = { method: 'DELETE', headers, ca: api.authority, agent: false };
      request(`${api.url}/api/v1/nodes/n1`, options, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .once('error', reject)
        .end();
    });
    assert.equal(code, 406);
    assert.equal((await asked('GET', 'nodes/n1')).code, 200);
  });

  it('keeps everything over a stop, on the same port', async () => {
    const core = await clientOf(api);
    await api.stop();
    await assert.rejects(core.listNode());
    await api.start();
    assert.equal((await core.listNode()).items.length, 1);
  });

  it('goes wrong as it is told, for as long as it is told', async () => {
    const core = await clientOf(api, operator('somebody', 'system:masters'));
    using _ = api.faults.add({
      verbs: ['list'],
      user: 'somebody',
      times: 1,
      effect: { kind: 'too_many', retryAfterSeconds: 3 },
    });
    const refused = await core.listNode().then(
      () => null,
      (error: unknown) => error,
    );
    assert.ok(hasCode(429)(refused));
    assert.equal((await core.listNode()).items.length, 1);
    using __ = api.faults.add({ verbs: ['get'], user: 'somebody', every: 2, effect: { kind: 'drop' } });
    await assert.rejects(core.readNode({ name: 'n1' }));
    await core.readNode({ name: 'n1' });
  });

  it('notes who wrote what, and counts no dry run as a write', async () => {
    const merge = 'application/merge-patch+json';
    await asked('PATCH', 'nodes/n1?dryRun=All', { metadata: { labels: { a: 'b' } } }, merge);
    await asked('PATCH', 'nodes/n1', { metadata: { labels: { a: 'c' } } }, merge);
    const writes = api.log.writes({ resource: 'nodes' });
    assert.deepEqual(
      writes.map(({ user, verb, name, before, after }) => [
        user,
        verb,
        name,
        before?.metadata.labels?.a,
        after?.metadata.labels?.a,
      ]),
      [['kubernetes-admin', 'patch', 'n1', undefined, 'c']],
    );
  });
});

async function clientOf(api: ApiServer, user = administrator): Promise<CoreV1Api> {
  const config = new KubeConfig();
  config.loadFromFile(await api.kubeconfig(user));
  return config.makeApiClient(CoreV1Api);
}

function hasCode(code: number): (error: unknown) => boolean {
  return (error) => typeof error === 'object' && error !== null && 'code' in error && error.code === code;
}
