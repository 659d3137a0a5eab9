import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { request } from 'node:https';
import { after, before, describe, it } from 'mocha';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { at, isObject, type Json, listAt, textAt } from '../../../swtpm-fixtures/api-server/json.ts';
import {
  administrator,
  kubelet,
  operator,
  serviceAccount,
  type User,
} from '../../../swtpm-fixtures/api-server/users.ts';

const merge = 'application/merge-patch+json';

describe('who is who to the API server of the tests', () => {
  let api: ApiServer;
  const asked = (method: string, path: string, body?: Json, user = administrator) =>
    api.as(user).request(method, path, body, method === 'PATCH' ? merge : undefined);
  const tokenOf = async (spec: Json, user = administrator) => {
    const path = '/api/v1/namespaces/assay/serviceaccounts/agent/token';
    return asked('POST', path, { spec }, user);
  };
  const review = async (token: string, audiences?: readonly string[]) => {
    const spec = { token, ...(audiences && { audiences }) };
    const { body } = await asked('POST', '/apis/authentication.k8s.io/v1/tokenreviews', { spec });
    return body?.status;
  };
  const containers = [{ name: 'c', image: 'example.com/c:1' }];
  const volumes = [
    { name: 't', projected: { sources: [{ serviceAccountToken: { audience: 'assay', path: 'token' } }] } },
  ];
  const makePod = async (): Promise<Json> => {
    const made = await asked('POST', '/api/v1/namespaces/assay/pods', {
      metadata: { name: 'agent-x' },
      spec: {
        ...{ nodeName: 'n1', serviceAccountName: 'agent', automountServiceAccountToken: false },
        ...{ containers, volumes },
      },
    });
    assert.equal(made.code, 201);
    const uid = textAt(made.body ?? {}, 'metadata', 'uid') ?? '';
    return { apiVersion: 'v1', kind: 'Pod', name: 'agent-x', uid };
  };
  let pod: Json;
  before(async () => {
    api = await openApiServer();
    await asked('POST', '/api/v1/namespaces', { metadata: { name: 'assay' } });
    await asked('POST', '/api/v1/namespaces/assay/serviceaccounts', { metadata: { name: 'agent' } });
    for (const name of ['n1', 'n2']) await api.createNode(name);
    pod = await makePod();
  });
  after(() => api[Symbol.asyncDispose]());

  it('a token that is bound to a pod tells its node, to its audience only', async () => {
    const { code, body } = await tokenOf({
      audiences: ['assay'],
      boundObjectRef: pod,
      expirationSeconds: 600,
    });
    assert.equal(code, 201);
    const token = textAt(body ?? {}, 'status', 'token') ?? '';
    assert.ok(token.length > 1024, `${token.length} characters`);
    const status = await review(token, ['assay']);
    assert.deepEqual([at(status, 'authenticated'), at(status, 'audiences')], [true, ['assay']]);
    assert.equal(textAt(status, 'user', 'username'), 'system:serviceaccount:assay:agent');
    assert.deepEqual(at(status, 'user', 'extra', 'authentication.kubernetes.io/node-name'), ['n1']);
    assert.deepEqual(at(status, 'user', 'extra', 'authentication.kubernetes.io/pod-name'), ['agent-x']);
    const other = await review(token);
    assert.equal(at(other, 'authenticated'), undefined);
    assert.match(textAt(other, 'error') ?? '', /audiences/);
    assert.equal(at(await review(`${token.slice(0, -8)}AAAAAAAA`, ['assay']), 'authenticated'), undefined);
  });

  it('a token is signed by the key that the server shows, and dies with its pod or its time', async () => {
    const { body } = await tokenOf({ audiences: ['assay'], boundObjectRef: pod });
    const token = textAt(body ?? {}, 'status', 'token') ?? '';
    const [header = '', payload = '', signature = ''] = token.split('.');
    const { body: found } = await asked('GET', '/.well-known/openid-configuration');
    const { pathname } = new URL(textAt(found ?? {}, 'jwks_uri') ?? '');
    const { body: keys } = await asked('GET', pathname);
    const [key] = listAt(keys ?? {}, 'keys');
    assert.ok(isObject(key));
    const publicKey = createPublicKey({ key: { ...key }, format: 'jwk' });
    const signed = Buffer.from(`${header}.${payload}`);
    const bytes = Buffer.from(signature, 'base64url');
    assert.ok(verify('sha256', signed, publicKey, bytes));

    api.setClockSkew(3_661_000);
    assert.match(textAt(await review(token, ['assay']), 'error') ?? '', /expired/);
    // Clocks may differ by a minute.
    api.setClockSkew(3_630_000);
    assert.equal(at(await review(token, ['assay']), 'authenticated'), true);
    api.setClockSkew(0);
    assert.equal(at(await review(token, ['assay']), 'authenticated'), true);
    const path = '/api/v1/namespaces/assay/pods/agent-x';
    assert.equal((await asked('DELETE', path)).code, 200);
    // Its kubelet has half a minute to end it.
    api.setClockSkew(20_000);
    assert.equal(at(await review(token, ['assay']), 'authenticated'), true);
    assert.equal((await asked('DELETE', path, { gracePeriodSeconds: 0 })).code, 200);
    assert.equal((await asked('GET', path)).code, 404);
    // A good review is answered again for ten seconds.
    assert.equal(at(await review(token, ['assay']), 'authenticated'), true);
    api.setClockSkew(31_000);
    assert.match(textAt(await review(token, ['assay']), 'error') ?? '', /invalidated/);
    api.setClockSkew(0);
    pod = await makePod();
    assert.match(textAt(await review(token, ['assay']), 'error') ?? '', /pod UID/);
  });

  it('no pod runs as an account that is not there', async () => {
    const { code } = await asked('POST', '/api/v1/namespaces/assay/pods', {
      metadata: { name: 'nobody' },
      spec: { serviceAccountName: 'nosuch', containers },
    });
    assert.equal(code, 403);
  });

  it('a deletion that is said to be dry in its body deletes nothing', async () => {
    const path = '/api/v1/namespaces/assay/serviceaccounts/agent';
    const { code } = await asked('DELETE', path, { kind: 'DeleteOptions', dryRun: ['All'] });
    assert.equal(code, 200);
    assert.equal((await asked('GET', path)).code, 200);
    assert.equal((await asked('DELETE', path, { dryRun: ['Some'] })).code, 422);
  });

  it('a kubelet gets tokens for pods of its own node only, for their audiences, and nobody gets short ones', async () => {
    const bound = { audiences: ['assay'], boundObjectRef: pod };
    assert.equal((await tokenOf(bound, kubelet('n1'))).code, 201);
    assert.equal((await tokenOf(bound, kubelet('n2'))).code, 403);
    assert.equal((await tokenOf({ audiences: ['assay'] }, kubelet('n1'))).code, 403);
    for (const audiences of [['other'], ['assay', 'other'], []])
      assert.equal((await tokenOf({ ...bound, audiences }, kubelet('n1'))).code, 403);
    assert.equal((await tokenOf({ expirationSeconds: 60 })).code, 422);
  });

  it('a token for the API itself opens its door, as its service account', async () => {
    const { body } = await tokenOf({ audiences: [] });
    const token = textAt(body ?? {}, 'status', 'token') ?? '';
    const status = await review(token);
    assert.equal(at(status, 'authenticated'), true);
  });

  it('rules of RBAC count at once, by name, subresource and namespace, and so do reviews of them', async () => {
    const rules = [
      { apiGroups: [''], resources: ['nodes'], verbs: ['get', 'patch'], resourceNames: ['n1'] },
      { apiGroups: [''], resources: ['nodes/status'], verbs: ['*'] },
      { apiGroups: ['assay.dev'], resources: ['nodeattestations'], verbs: ['exempt'] },
    ];
    const rbac = '/apis/rbac.authorization.k8s.io/v1';
    const agent = serviceAccount('assay', 'agent');
    const patched = (path: string) => asked('PATCH', path, { metadata: { labels: { a: 'b' } } }, agent);
    assert.equal((await patched('/api/v1/nodes/n1')).code, 403);
    await asked('POST', `${rbac}/clusterroles`, { metadata: { name: 'r' }, rules });
    await asked('POST', `${rbac}/clusterrolebindings`, {
      metadata: { name: 'b' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'r' },
      subjects: [
        { kind: 'ServiceAccount', namespace: 'assay', name: 'agent' },
        { kind: 'Group', apiGroup: 'rbac.authorization.k8s.io', name: 'sre' },
      ],
    });
    assert.deepEqual(
      [
        (await patched('/api/v1/nodes/n1')).code,
        (await patched('/api/v1/nodes/n2')).code,
        (await patched('/api/v1/nodes/n2/status')).code,
        (await asked('DELETE', '/api/v1/nodes/n1', undefined, agent)).code,
      ],
      [200, 403, 200, 403],
    );
    const may = async (user: Json, verb: string) => {
      const resourceAttributes = { group: 'assay.dev', resource: 'nodeattestations', verb };
      const spec = { ...(isObject(user) ? user : {}), resourceAttributes };
      const { body } = await asked('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', { spec });
      return at(body?.status ?? {}, 'allowed');
    };
    assert.equal(await may({ user: 'ann', groups: ['sre'] }, 'exempt'), true);
    assert.equal(await may({ user: 'ann', groups: ['sre'] }, 'pause'), false);
    assert.equal(await may({ user: 'bob' }, 'exempt'), false);
    const { code } = await asked('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', { spec: {} });
    assert.equal(code, 422);
    const own = await asked(
      'POST',
      '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
      { spec: { resourceAttributes: { resource: 'nodes', verb: 'list' } } },
      operator('eve'),
    );
    assert.equal(at(own.body?.status ?? {}, 'allowed'), false);
  });
});

describe('who acts for somebody else at the API server of the tests', () => {
  let api: ApiServer;
  before(async () => {
    api = await openApiServer();
    await api.createNode('n1');
  });
  after(() => api[Symbol.asyncDispose]());
  const asked = (
    user: User,
    method: string,
    path: string,
    headers: Readonly<Record<string, string | string[]>>,
  ) =>
    new Promise<number>((resolve, reject) => {
      const token = { authorization: `Bearer ${api.tokenOf(user)}` };
      const options = { method, ca: api.authority, agent: false, headers: { ...token, ...headers } };
      request(`${api.url}${path}`, options, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      })
        .once('error', reject)
        .end();
    });

  it('has the rights of that one, and not its own', async () => {
    const node = { 'impersonate-user': 'system:node:n1', 'impersonate-group': 'system:nodes' };
    assert.equal(await asked(administrator, 'GET', '/api/v1/nodes/n1', node), 200);
    assert.equal(await asked(administrator, 'DELETE', '/api/v1/nodes/n1', node), 403);
    const nobody = { 'impersonate-user': 'system:serviceaccount:default:x' };
    assert.equal(await asked(administrator, 'GET', '/api/v1/nodes/n1', nobody), 403);
    assert.equal(await asked(administrator, 'GET', '/api/v1/nodes/n1', { 'impersonate-group': 'a' }), 500);
  });

  it('must be allowed to', async () => {
    const admin = { 'impersonate-user': 'somebody', 'impersonate-group': ['a', 'system:masters'] };
    assert.equal(await asked(operator('eve'), 'GET', '/api/v1/nodes', admin), 403);
    assert.equal(await asked(administrator, 'GET', '/api/v1/nodes', admin), 200);
  });
});

describe('admission policies of the API server of the tests', () => {
  let api: ApiServer;
  const base = '/apis/admissionregistration.k8s.io/v1';
  const policy = (spec: Readonly<Record<string, Json>>): Json => ({
    metadata: { name: 'marks' },
    spec: {
      matchConstraints: {
        resourceRules: [
          {
            apiGroups: [''],
            apiVersions: ['v1'],
            operations: ['CREATE', 'UPDATE'],
            resources: ['nodes', 'nodes/status'],
          },
        ],
      },
      ...spec,
    },
  });
  const asked = (method: string, path: string, body?: Json, user = administrator) =>
    api.as(user).request(method, path, body, method === 'PATCH' ? merge : undefined);
  const withPolicy = async (spec: Readonly<Record<string, Json>>, code = 201) => {
    await asked('DELETE', `${base}/validatingadmissionpolicies`);
    await asked('DELETE', `${base}/validatingadmissionpolicybindings`);
    const made = await asked('POST', `${base}/validatingadmissionpolicies`, policy(spec));
    assert.equal(made.code, code, made.text);
    await asked('POST', `${base}/validatingadmissionpolicybindings`, {
      metadata: { name: 'marks' },
      spec: { policyName: 'marks', validationActions: ['Deny'] },
    });
    return made;
  };
  const label = (value: string | null, user = administrator) =>
    asked('PATCH', '/api/v1/nodes/n1', { metadata: { labels: { 'assay.dev/x': value } } }, user);
  before(async () => {
    api = await openApiServer();
    await api.createNode('n1');
  });
  after(() => api[Symbol.asyncDispose]());

  it('deny what an expression over the object before and after forbids, with its message and reason', async () => {
    const changed = "object.metadata.?labels[?'assay.dev/x'] != oldObject.metadata.?labels[?'assay.dev/x']";
    await withPolicy({
      matchConditions: [{ name: 'update', expression: "request.operation == 'UPDATE'" }],
      variables: [{ name: 'changed', expression: changed }],
      validations: [
        {
          expression: '!variables.changed',
          messageExpression: "'not you, ' + request.userInfo.username",
          reason: 'Forbidden',
        },
      ],
    });
    const { code, body } = await label('a');
    assert.deepEqual([code, body?.reason], [403, 'Forbidden']);
    assert.equal(
      body?.message,
      `nodes "n1" is forbidden: ValidatingAdmissionPolicy 'marks' with binding 'marks' denied request: not you, kubernetes-admin`,
    );
    assert.equal((await asked('PATCH', '/api/v1/nodes/n1', { spec: { unschedulable: true } })).code, 200);
    assert.equal(
      (await asked('POST', '/api/v1/nodes', { metadata: { name: 'n2', labels: { 'assay.dev/x': 'a' } } }))
        .code,
      201,
    );
  });

  it('ask the authorizer who may', async () => {
    const may = "authorizer.group('assay.dev').resource('nodeattestations').check('exempt').allowed()";
    await withPolicy({ validations: [{ expression: may, message: 'not allowed' }] });
    assert.equal((await label('b')).code, 200);
    const rules = [{ apiGroups: [''], resources: ['nodes'], verbs: ['patch'] }];
    const rbac = '/apis/rbac.authorization.k8s.io/v1';
    await asked('POST', `${rbac}/clusterroles`, { metadata: { name: 'p' }, rules });
    await asked('POST', `${rbac}/clusterrolebindings`, {
      metadata: { name: 'p' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'p' },
      subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: 'ann' }],
    });
    const refused = await label('c', operator('ann'));
    assert.deepEqual([refused.code, refused.body?.reason], [422, 'Invalid']);
    const more = [...rules, { apiGroups: ['assay.dev'], resources: ['nodeattestations'], verbs: ['exempt'] }];
    await asked('PATCH', `${rbac}/clusterroles/p`, { rules: more });
    assert.equal((await label('c', operator('ann'))).code, 200);
  });

  it('fail closed where an expression cannot be evaluated, unless they are told not to', async () => {
    const validations = [{ expression: 'object.metadata.labels.missing == "x"' }];
    await withPolicy({ validations });
    const { code, body } = await label('d');
    assert.equal(code, 422);
    assert.match(String(body?.message), /resulted in error: No such key: missing/);
    await withPolicy({ validations, failurePolicy: 'Ignore' });
    assert.equal((await label('d')).code, 200);
  });

  it('are refused when an expression does not compile, names an unknown variable, or gives no bool', async () => {
    for (const expression of ['object.a ==', 'unknown == 1', "'text'", 'variables.nobody']) {
      const made = await withPolicy({ validations: [{ expression }] }, 422);
      assert.match(String(made.body?.message), /spec\.validations\[0\]\.expression/);
    }
  });

  it('act only after a moment, where the server is told so', async () => {
    await using slow = await openApiServer({ settleMs: 1000 });
    const ask = (method: string, path: string, body: Json) =>
      slow.as(administrator).request(method, path, body, method === 'PATCH' ? merge : undefined);
    await slow.createNode('n1');
    const spec = { validations: [{ expression: 'false' }] };
    await ask('POST', `${base}/validatingadmissionpolicies`, policy(spec));
    await ask('POST', `${base}/validatingadmissionpolicybindings`, {
      metadata: { name: 'marks' },
      spec: { policyName: 'marks', validationActions: ['Deny'] },
    });
    const labelled = async (value: string) =>
      (await ask('PATCH', '/api/v1/nodes/n1', { metadata: { labels: { a: value } } })).code;
    slow.setClockSkew(-1000);
    assert.equal(await labelled('b'), 200);
    slow.setClockSkew(3000);
    assert.equal(await labelled('c'), 422);
  });

  it('say nothing about themselves, so that a wrong one can be taken away', async () => {
    await withPolicy({
      matchConstraints: {
        resourceRules: [{ apiGroups: ['*'], apiVersions: ['*'], operations: ['*'], resources: ['*'] }],
      },
      validations: [{ expression: 'false' }],
    });
    assert.equal((await label('e')).code, 422);
    assert.equal((await asked('DELETE', '/api/v1/nodes/n1')).code, 422);
    assert.equal((await asked('DELETE', `${base}/validatingadmissionpolicies/marks`)).code, 200);
    assert.equal((await label('e')).code, 200);
  });
});

describe('namespaces and events of the API server of the tests', () => {
  let api: ApiServer;
  const asked = (method: string, path: string, body?: Json) =>
    api.as(administrator).request(method, path, body);
  before(async () => {
    api = await openApiServer();
    await api.createNode('n1');
  });
  after(() => api[Symbol.asyncDispose]());

  it('a namespace goes only through its finalize subresource, and takes nothing new meanwhile', async () => {
    const map = { metadata: { name: 'm' } };
    assert.equal((await asked('POST', '/api/v1/namespaces/x/configmaps', map)).code, 404);
    await asked('POST', '/api/v1/namespaces', { metadata: { name: 'x' } });
    assert.equal((await asked('POST', '/api/v1/namespaces/x/configmaps', map)).code, 201);
    const { body } = await asked('DELETE', '/api/v1/namespaces/x');
    assert.equal(textAt(body ?? {}, 'status', 'phase'), 'Terminating');
    assert.equal(
      (await asked('POST', '/api/v1/namespaces/x/configmaps', { metadata: { name: 'n' } })).code,
      403,
    );
    assert.equal((await asked('GET', '/api/v1/namespaces/x')).code, 200);
    const finalized = { ...body, spec: { finalizers: [] } };
    assert.equal((await asked('PUT', '/api/v1/namespaces/x/finalize', finalized)).code, 200);
    assert.equal((await asked('GET', '/api/v1/namespaces/x')).code, 404);
    assert.equal((await asked('DELETE', '/api/v1/namespaces/kube-system')).code, 403);
  });

  it('an event on a node is in the namespace default, and is read through both groups', async () => {
    const event = (namespace: string): Json => ({
      metadata: { name: `e.${namespace}` },
      ...{ eventTime: '2026-01-01T00:00:00.000000Z', type: 'Warning', reason: 'Untrusted', action: 'Attest' },
      ...{ note: 'text', reportingController: 'assay.dev/server', reportingInstance: 's-0' },
      regarding: { apiVersion: 'v1', kind: 'Node', name: 'n1' },
    });
    const path = (namespace: string) => `/apis/events.k8s.io/v1/namespaces/${namespace}/events`;
    assert.equal((await asked('POST', path('kube-system'), event('kube-system'))).code, 422);
    const made = await asked('POST', path('default'), event('default'));
    assert.deepEqual([made.code, made.body?.note], [201, 'text']);
    const { body } = await asked(
      'GET',
      '/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dn1',
    );
    const [seen] = listAt(body ?? {}, 'items');
    assert.deepEqual(
      [textAt(seen, 'message'), textAt(seen, 'reportingComponent')],
      ['text', 'assay.dev/server'],
    );
    const unsaid = { metadata: { name: 'f' }, regarding: { kind: 'Node', name: 'n1' } };
    assert.match(
      String((await asked('POST', path('default'), unsaid)).body?.message),
      /eventTime: Required value/,
    );
  });
});
