import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import type { Json, JsonObject } from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator } from '../../../swtpm-fixtures/api-server/users.ts';

const failure = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure' };
const lease = '/apis/coordination.k8s.io/v1/namespaces/default/leases';

/**
 * Answers as kube-apiserver gives them: the shapes are those of `apimachinery/pkg/api/errors/errors.go` and
 * `apiserver/pkg/endpoints/handlers/patch.go` of kubernetes/kubernetes, and agree with answers that people recorded.
 */
describe('answers of the API server of the tests, word by word', () => {
  let api: ApiServer;
  before(async () => {
    api = await openApiServer();
    await api.createNode('n1');
    await api
      .as(administrator)
      .request('POST', lease, { metadata: { name: 'l' }, spec: { holderIdentity: 'a' } });
  });
  after(() => api[Symbol.asyncDispose]());

  const merge = 'application/merge-patch+json';
  const cases: readonly {
    readonly what: string;
    readonly ask: readonly [method: string, target: string, body?: Json, type?: string];
    readonly answer: JsonObject;
  }[] = [
    {
      what: 'an object that is not there',
      ask: ['GET', '/api/v1/nodes/none'],
      answer: {
        message: 'nodes "none" not found',
        reason: 'NotFound',
        details: { name: 'none', kind: 'nodes' },
        code: 404,
      },
    },
    {
      what: 'an object that is there already',
      ask: ['POST', lease, { metadata: { name: 'l' } }],
      answer: {
        message: 'leases.coordination.k8s.io "l" already exists',
        reason: 'AlreadyExists',
        details: { name: 'l', group: 'coordination.k8s.io', kind: 'leases' },
        code: 409,
      },
    },
    {
      what: 'an update of an older version',
      ask: ['PATCH', '/api/v1/nodes/n1', { metadata: { resourceVersion: '1' } }, merge],
      answer: {
        message:
          'Operation cannot be fulfilled on nodes "n1": the object has been modified; please apply your changes to the latest version and try again',
        reason: 'Conflict',
        details: { name: 'n1', kind: 'nodes' },
        code: 409,
      },
    },
    {
      what: 'a JSON patch that does not apply',
      ask: [
        'PATCH',
        '/api/v1/nodes/n1',
        [{ op: 'remove', path: '/spec/taints' }],
        'application/json-patch+json',
      ],
      answer: {
        message: 'the server rejected our request due to an error in our request',
        reason: 'Invalid',
        details: {},
        code: 422,
      },
    },
    {
      what: 'an update without the version that it changes',
      ask: ['PUT', `${lease}/l`, { metadata: { name: 'l' } }],
      answer: {
        message:
          'Lease.coordination.k8s.io "l" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for an update',
        reason: 'Invalid',
        details: {
          name: 'l',
          group: 'coordination.k8s.io',
          kind: 'Lease',
          causes: [
            {
              reason: 'FieldValueInvalid',
              message: 'Invalid value: 0x0: must be specified for an update',
              field: 'metadata.resourceVersion',
            },
          ],
        },
        code: 422,
      },
    },
    {
      what: 'a resource that is not there',
      ask: ['GET', '/api/v1/widgets'],
      answer: {
        message: 'the server could not find the requested resource',
        reason: 'NotFound',
        details: {},
        code: 404,
      },
    },
    {
      what: 'an apply of what somebody else set',
      ask: [
        'PATCH',
        `${lease}/l?fieldManager=b`,
        { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', spec: { holderIdentity: 'b' } },
        'application/apply-patch+yaml',
      ],
      answer: {
        message:
          'Apply failed with 1 conflict: conflict with "test" using coordination.k8s.io/v1: .spec.holderIdentity',
        reason: 'Conflict',
        details: {
          causes: [
            {
              reason: 'FieldManagerConflict',
              message: 'conflict with "test" using coordination.k8s.io/v1',
              field: '.spec.holderIdentity',
            },
          ],
        },
        code: 409,
      },
    },
  ];
  for (const { what, ask, answer } of cases) {
    it(`to ${what}`, async () => {
      const [method, target, body, type] = ask;
      const reply = await api.as(administrator).request(method, target, body, type);
      assert.deepEqual(reply.body, { ...failure, ...answer });
      assert.equal(reply.code, answer.code);
    });
  }
});
