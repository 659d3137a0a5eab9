import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { builtinRoots } from '../../../swtpm-fixtures/api-server/builtin-fields.ts';
import type { Json } from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator } from '../../../swtpm-fixtures/api-server/users.ts';
import { readClientFields } from './read-client-fields.ts';

const folder = join(import.meta.dirname, '../../../swtpm-fixtures/api-server');

describe('members of Kubernetes’ own types in the API server of the tests', () => {
  let api: ApiServer;
  before(async () => {
    api = await openApiServer();
  });
  after(() => api[Symbol.asyncDispose]());

  it('are those that the client of Kubernetes knows', async () => {
    const written: unknown = JSON.parse(readFileSync(join(folder, 'builtin-fields.json'), 'utf8'));
    assert.deepEqual(written, await readClientFields([...builtinRoots.values()]));
  });

  const rbac = '/apis/rbac.authorization.k8s.io/v1/clusterroles';
  const policies = '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies';
  const cases: readonly (readonly [what: string, path: string, body: Json, unknown: string])[] = [
    ['a node', '/api/v1/nodes', { metadata: { name: 'a' }, spec: { taint: [] } }, 'spec.taint'],
    [
      'a taint',
      '/api/v1/nodes',
      { metadata: { name: 'a' }, spec: { taints: [{ keey: 'a' }] } },
      'spec.taints[0].keey',
    ],
    ['the metadata', '/api/v1/nodes', { metadata: { name: 'a', label: {} } }, 'metadata.label'],
    ['a role', rbac, { metadata: { name: 'a' }, rules: [{ resource: ['nodes'] }] }, 'rules[0].resource'],
    ['a policy', policies, { metadata: { name: 'a' }, spec: { validation: [] } }, 'spec.validation'],
  ];
  for (const [what, path, body, unknown] of cases) {
    it(`name what is unknown in ${what} under strict validation`, async () => {
      const { code, text } = await api
        .as(administrator)
        .request('POST', `${path}?fieldValidation=Strict`, body);
      assert.equal(code, 400, text);
      assert.ok(text.includes(`unknown field \\"${unknown}\\"`), text);
    });
  }

  it('are left out with a warning otherwise, and refused where their type is another', async () => {
    const odd = { metadata: { name: 'b' }, spec: { odd: 1 } };
    const { code, body } = await api.as(administrator).request('POST', '/api/v1/nodes', odd);
    const taints = [{ key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' }];
    assert.deepEqual([code, body?.spec], [201, { taints }]);
    const wrong = { metadata: { name: 'c' }, spec: { unschedulable: 'yes' } };
    const refused = await api.as(administrator).request('POST', '/api/v1/nodes', wrong);
    assert.deepEqual([refused.code, refused.body?.reason], [400, 'BadRequest']);
  });
});
