import assert from 'node:assert/strict';
import fc from 'fast-check';
import { after, before, describe, it } from 'mocha';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import type { Json } from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator } from '../../../swtpm-fixtures/api-server/users.ts';

const types = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
  'application/apply-patch+yaml',
  'application/json',
  '',
];
const paths = fc.constantFrom(
  ...[
    'nodes',
    'nodes/n1',
    'nodes/n1/status',
    'namespaces',
    'namespaces/default',
    'namespaces/default/configmaps',
  ],
  ...[
    'namespaces/default/configmaps/a',
    'namespaces/default/events',
    'namespaces/default/serviceaccounts/a/token',
  ],
  ...['nodes?limit=x', 'nodes?labelSelector=,,', 'nodes?fieldSelector=a', 'nodes?continue=e30', 'nodes/%zz'],
);
const taint = fc.record(
  { key: fc.string(), effect: fc.constantFrom('NoSchedule', 'x') },
  { requiredKeys: [] },
);
/** Bodies that are nearly right reach further than any JSON. */
const bodies: fc.Arbitrary<unknown> = fc.oneof(
  fc.jsonValue(),
  fc.record(
    {
      apiVersion: fc.constantFrom('v1', 'x'),
      kind: fc.constantFrom('Node', 'ConfigMap', 'x'),
      metadata: fc.record(
        {
          name: fc.constantFrom('n1', 'a', '', '/'),
          labels: fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.jsonValue())),
          resourceVersion: fc.string(),
          managedFields: fc.jsonValue(),
        },
        { requiredKeys: [] },
      ),
      spec: fc.oneof(fc.jsonValue(), fc.record({ taints: fc.array(taint) })),
      status: fc.oneof(fc.jsonValue(), fc.record({ conditions: fc.array(fc.record({ type: fc.string() })) })),
    },
    { requiredKeys: [] },
  ),
  fc.array(
    fc.record(
      {
        op: fc.constantFrom('add', 'remove', 'replace', 'test', 'move', 'copy', 'x'),
        path: fc.constantFrom(
          '',
          '/',
          '/spec/taints',
          '/spec/taints/-',
          '/metadata/labels/__proto__',
          '/metadata',
          '/a~1b',
        ),
        from: fc.constantFrom('/spec', '/metadata/name', '/x', ''),
        value: fc.jsonValue(),
      },
      { requiredKeys: [] },
    ),
  ),
);

describe('any request to the API server of the tests', () => {
  let api: ApiServer;
  before(async () => {
    api = await openApiServer({ history: 100 });
    await api.createNode('n1');
  });
  after(() => api[Symbol.asyncDispose]());

  it('is answered with a status that is no fault of the server', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'),
        paths,
        fc.constantFrom(...types),
        bodies,
        async (method, path, type, body) => {
          // A node that was deleted by one request is there for the next.
          if (api.store.get('/nodes', 'n1') === null) await api.createNode('n1');
          const target = `/api/v1/${path}${path.includes('?') ? '&' : '?'}fieldManager=any`;
          const reply = await api.as(administrator).request(method, target, asJson(body), type);
          const { code, text } = reply;
          // The real one answers some mistakes of clients so, too, but never with a reason.
          const isMistake = reply.body !== null && reply.body.reason === undefined;
          assert.ok(code >= 200 && (code !== 500 || isMistake), `${code} ${text}`);
        },
      ),
      { numRuns: 1000 },
    );
    // Not all of them were turned away at the first step.
    for (const code of [200, 201, 400, 404, 415, 422]) {
      assert.ok(api.log.requests({ code }) > 0, `no request was answered with ${code}`);
    }
  });
});

function asJson(value: unknown): Json {
  if (Array.isArray(value)) return value.map(asJson);
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, asJson(member)]));
  }
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : null;
}
