import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'mocha';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { at, type Json, listAt, textAt } from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator } from '../../../swtpm-fixtures/api-server/users.ts';

const base = '/apis/example.com/v1/widgets';
const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const applyPatch = 'application/apply-patch+yaml';
const merge = 'application/merge-patch+json';

const widget = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'widgets.example.com' },
  spec: {
    group: 'example.com',
    scope: 'Cluster',
    names: { plural: 'widgets', kind: 'Widget' },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        subresources: { status: {} },
        schema: {
          openAPIV3Schema: {
            type: 'object',
            required: ['spec'],
            properties: {
              spec: {
                type: 'object',
                properties: {
                  size: { type: 'integer', minimum: 1, default: 3 },
                  color: { type: 'string', enum: ['red', 'blue'] },
                  groups: { type: 'array', 'x-kubernetes-list-type': 'set', items: { type: 'string' } },
                },
                'x-kubernetes-validations': [
                  {
                    rule: 'oldSelf.?groups.orValue([]).all(g, g in self.?groups.orValue([]))',
                    message: 'groups may not shrink',
                  },
                  { rule: "self.size < 100 || self.color == 'red'", message: 'large ones are red' },
                ],
              },
              status: {
                type: 'object',
                properties: {
                  state: { type: 'string' },
                  aspects: {
                    type: 'array',
                    'x-kubernetes-list-type': 'map',
                    'x-kubernetes-list-map-keys': ['name'],
                    items: {
                      type: 'object',
                      required: ['name'],
                      properties: { name: { type: 'string' }, status: { type: 'string' } },
                    },
                  },
                },
              },
            },
          },
        },
      },
    ],
  },
};

describe('custom resources of the API server of the tests', () => {
  let api: ApiServer;
  const asked = (method: string, path: string, body?: Json, type?: string) =>
    api.as(administrator).request(method, path, body, type);
  before(async () => {
    api = await openApiServer();
  });
  after(() => api[Symbol.asyncDispose]());
  beforeEach(async () => {
    await asked('DELETE', `${definitions}/widgets.example.com`);
    assert.equal((await asked('POST', `${definitions}?fieldValidation=Strict`, widget)).code, 201);
  });

  it('are served once they are defined, and gone with their definition', async () => {
    assert.equal((await asked('POST', base, { metadata: { name: 'a' }, spec: {} })).code, 201);
    assert.equal(
      textAt((await asked('GET', '/apis/example.com/v1')).body ?? {}, 'groupVersion'),
      'example.com/v1',
    );
    await asked('DELETE', `${definitions}/widgets.example.com`);
    assert.equal((await asked('GET', base)).code, 404);
    await asked('POST', definitions, widget);
    assert.deepEqual(listAt((await asked('GET', base)).body ?? {}, 'items'), []);
  });

  it('are filled with defaults, pruned with a warning, and refused under strict validation', async () => {
    const odd = { metadata: { name: 'a' }, spec: { colour: 'red' } };
    const strict = await asked('POST', `${base}?fieldValidation=Strict`, odd);
    assert.deepEqual([strict.code, strict.body?.reason], [400, 'BadRequest']);
    assert.match(String(strict.body?.message), /strict decoding error: unknown field "spec\.colour"/);
    const { code, body } = await asked('POST', base, odd);
    assert.deepEqual([code, body?.spec], [201, { size: 3 }]);
  });

  for (const [what, spec, message] of [
    [
      'a number below its minimum',
      { size: 0 },
      /spec\.size: Invalid value: 0: should be greater than or equal to 1/,
    ],
    ['a word that is not listed', { color: 'green' }, /spec\.color: Unsupported value: "green"/],
    [
      'another type',
      { size: 'big' },
      /spec\.size: Invalid value: "big": spec\.size in body must be of type integer/,
    ],
    ['an item twice in a set', { groups: ['a', 'a'] }, /spec\.groups\[1\]: Duplicate value: "a"/],
    [
      'what a rule forbids',
      { size: 100, color: 'blue' },
      /spec: Invalid value: "object": large ones are red/,
    ],
  ] as const) {
    it(`refuse ${what}`, async () => {
      const { code, body } = await asked('POST', base, { metadata: { name: 'a' }, spec });
      assert.deepEqual([code, body?.reason], [422, 'Invalid']);
      assert.match(String(body?.message), message);
    });
  }

  it('hold a rule about what was before against each update', async () => {
    await asked('POST', base, { metadata: { name: 'a' }, spec: { groups: ['x'] } });
    const grown = await asked('PATCH', `${base}/a`, { spec: { groups: ['x', 'y'] } }, merge);
    assert.deepEqual([grown.code, at(grown.body ?? {}, 'metadata', 'generation')], [200, 2]);
    const shrunk = await asked('PATCH', `${base}/a`, { spec: { groups: ['y'] } }, merge);
    assert.equal(shrunk.code, 422);
    assert.match(String(shrunk.body?.message), /groups may not shrink/);
  });

  it('refuse a definition whose schema has no structure or whose rule does not compile', async () => {
    const withSpec = (spec: Json) => {
      const [version] = widget.spec.versions;
      const schema = { openAPIV3Schema: { type: 'object', properties: { spec } } };
      return {
        ...widget,
        metadata: { name: 'others.example.com' },
        spec: {
          ...widget.spec,
          names: { plural: 'others', kind: 'Other' },
          versions: [{ ...version, schema }],
        },
      };
    };
    const untyped = await asked('POST', definitions, withSpec({ properties: { a: { type: 'string' } } }));
    assert.match(String(untyped.body?.message), /properties\[spec\]\.type: Required value/);
    const rule = { type: 'object', 'x-kubernetes-validations': [{ rule: 'self.a ==' }] };
    assert.match(
      String((await asked('POST', definitions, withSpec(rule))).body?.message),
      /compilation failed/,
    );
  });

  describe('under server-side apply', () => {
    const applied = (manager: string, path: string, object: Readonly<Record<string, Json>>, more = '') =>
      asked(
        'PATCH',
        `${base}/${path}?fieldManager=${manager}${more}`,
        { apiVersion: 'example.com/v1', kind: 'Widget', ...object },
        applyPatch,
      );

    it('are made, and left as they are by the same once more', async () => {
      const made = await applied('one', 'a', { spec: { color: 'red' } });
      assert.deepEqual([made.code, made.body?.spec], [201, { color: 'red', size: 3 }]);
      const [entry] = listAt(made.body ?? {}, 'metadata', 'managedFields');
      assert.deepEqual(at(entry, 'fieldsV1'), { 'f:spec': { 'f:color': {} } });
      const { revision } = api.store;
      assert.equal((await applied('one', 'a', { spec: { color: 'red' } })).code, 200);
      assert.equal(api.store.revision, revision);
    });

    it('name no manager once nobody manages anything', async () => {
      await applied('one', 'a', { spec: { groups: ['x'] } });
      const { code, body } = await applied('one', 'a', { spec: { groups: [] } });
      assert.equal(code, 422, 'the schema requires the spec, which goes with all that was applied in it');
      assert.equal(body?.reason, 'Invalid');
      await applied('one', 'a', { metadata: { labels: { a: 'b' } }, spec: { color: 'red' } });
      await asked('PATCH', `${base}/a`, { spec: { color: 'blue' } }, merge);
      await asked('PATCH', `${base}/a`, { metadata: { managedFields: [{}] } }, merge);
      const { body: reset } = await asked('GET', `${base}/a`);
      assert.equal(at(reset ?? {}, 'metadata', 'managedFields'), undefined);
    });

    it('give a conflict by its field, and the field by force', async () => {
      await applied('one', 'a', { spec: { color: 'red' } });
      const refused = await applied('two', 'a', { spec: { color: 'blue' } });
      assert.deepEqual([refused.code, refused.body?.reason], [409, 'Conflict']);
      assert.deepEqual(listAt(refused.body ?? {}, 'details', 'causes'), [
        { reason: 'FieldManagerConflict', message: 'conflict with "one"', field: '.spec.color' },
      ]);
      assert.equal((await applied('two', 'a', { spec: { color: 'blue' } }, '&force=true')).code, 200);
      // Both may want the same.
      assert.equal((await applied('three', 'a', { spec: { color: 'blue' } })).code, 200);
    });

    it('lose what its manager does not apply any more, and keep what somebody else set', async () => {
      await applied('one', 'a', { spec: { color: 'red', groups: ['x'] } });
      await asked('PATCH', `${base}/a`, { metadata: { labels: { theirs: 'x' } }, spec: { size: 7 } }, merge);
      const { body } = await applied('one', 'a', { spec: { groups: ['x'] } });
      assert.deepEqual(body?.spec, { groups: ['x'], size: 7 });
      assert.equal(textAt(body ?? {}, 'metadata', 'labels', 'theirs'), 'x');
    });

    it('merge lists by their keys, and write a status through its own door only', async () => {
      await applied('one', 'a', { spec: {}, status: { state: 'unheard' } });
      const aspects = (...names: readonly string[]) => ({
        status: { state: 'trusted', aspects: names.map((name) => ({ name, status: 'affirming' })) },
      });
      assert.equal(at((await asked('GET', `${base}/a`)).body ?? {}, 'status'), undefined);
      await applied('one', 'a/status', aspects('boot', 'disk'));
      await applied('two', 'a/status', { status: { aspects: [{ name: 'host', status: 'none' }] } });
      const { body } = await applied('one', 'a/status', aspects('boot'));
      const names = listAt(body ?? {}, 'status', 'aspects').map((aspect) => textAt(aspect, 'name'));
      assert.deepEqual(names, ['boot', 'host']);
      assert.deepEqual(body?.spec, { size: 3 });
      assert.equal((await applied('one', 'b/status', aspects('boot'))).code, 404);
    });

    it('need a manager, and fields that the schema knows', async () => {
      const path = `${base}/a`;
      const config = { apiVersion: 'example.com/v1', kind: 'Widget', spec: {} };
      const nameless = await asked('PATCH', path, config, applyPatch);
      assert.match(String(nameless.body?.message), /fieldManager: Required value/);
      const odd = await applied('one', 'a', { spec: { colour: 'red' } });
      assert.equal(odd.code, 500);
      assert.match(String(odd.body?.message), /\.spec\.colour: field not declared in schema/);
    });
  });
});
