import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { type ProtectedThing, protectedThings } from '../../../attest-server/formats/marking.ts';
import { trustedLabel } from '../../../attest-server/formats/marks.ts';
import { AdmissionWatch } from '../../../attest-server/marking/admission-watch.ts';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { at, isObject, type Json, type JsonObject, listAt } from '../../../swtpm-fixtures/api-server/json.ts';
import {
  collectionOf,
  manifestFiles,
  nameOf,
  objectsOf,
  pathOf,
} from '../../../swtpm-fixtures/api-server/manifest-objects.ts';
import { administrator, operator } from '../../../swtpm-fixtures/api-server/users.ts';
import { type Opened, opened } from '../kubernetes/opened.ts';

const controller = operator('controller', 'controllers');
const admission = '/apis/admissionregistration.k8s.io/v1';
const policies = `${admission}/validatingadmissionpolicies`;
const bindings = `${admission}/validatingadmissionpolicybindings`;
const roles = '/apis/rbac.authorization.k8s.io/v1';
const rules = 'matchConstraints.resourceRules';
const other = { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] };

/** What somebody may make of the policy on marks, or of its binding: what is found then, and whether the label can be forged. */
const changes: readonly {
  readonly what: string;
  readonly policy?: (spec: JsonObject) => JsonObject | null;
  readonly binding?: (spec: JsonObject) => JsonObject | null;
  readonly found: readonly string[];
  readonly isOpen: boolean;
}[] = [
  { what: 'nothing', found: [], isOpen: false },
  { what: 'a policy that is deleted', policy: () => null, found: ['missing'], isOpen: true },
  { what: 'a binding that is deleted', binding: () => null, found: ['missing'], isOpen: true },
  {
    what: 'a binding of another policy',
    binding: (spec) => ({ ...spec, policyName: 'assay-attestations' }),
    found: ['missing'],
    isOpen: true,
  },
  {
    what: 'a binding that warns',
    binding: (spec) => ({ ...spec, validationActions: ['Warn', 'Audit'] }),
    found: ['not_denying'],
    isOpen: true,
  },
  {
    what: 'a binding that also notes',
    binding: (spec) => ({ ...spec, validationActions: ['Deny', 'Audit'] }),
    found: [],
    isOpen: false,
  },
  {
    what: 'a policy that only annotates',
    policy: (spec) => ({
      ...spec,
      validations: [],
      auditAnnotations: [{ key: 'who', valueExpression: 'request.userInfo.username' }],
    }),
    found: ['not_denying'],
    isOpen: true,
  },
  {
    what: 'a policy that lets pass what it cannot evaluate',
    policy: (spec) => ({ ...spec, failurePolicy: 'Ignore' }),
    found: ['not_denying'],
    isOpen: false,
  },
  {
    what: 'rules for the status alone',
    policy: withRule({ resources: ['nodes/status'] }),
    found: ['narrowed'],
    isOpen: true,
  },
  {
    what: 'rules for new Nodes alone',
    policy: withRule({ operations: ['CREATE'] }),
    found: ['narrowed'],
    isOpen: true,
  },
  {
    what: 'rules for another version',
    policy: withRule({ apiVersions: ['v2'] }),
    found: ['narrowed'],
    isOpen: true,
  },
  {
    what: 'rules for another Node',
    policy: withRule({ resourceNames: ['other'] }),
    found: ['narrowed'],
    isOpen: true,
  },
  {
    what: 'rules for what is in a namespace',
    policy: withRule({ scope: 'Namespaced' }),
    found: ['narrowed'],
    isOpen: true,
  },
  {
    what: 'rules for more than that',
    policy: (spec) => set(spec, rules, [...listAt(spec, ...rules.split('.')), other]),
    found: [],
    isOpen: false,
  },
  {
    what: 'a rule that is excluded',
    policy: (spec) =>
      set(spec, 'matchConstraints.excludeResourceRules', [
        { apiGroups: [''], apiVersions: ['*'], operations: ['UPDATE'], resources: ['nodes'] },
      ]),
    found: ['narrowed'],
    isOpen: true,
  },
  {
    what: 'Nodes that have a label',
    policy: (spec) => set(spec, 'matchConstraints.objectSelector', { matchLabels: { protected: 'true' } }),
    found: ['narrowed'],
    isOpen: true,
  },
  {
    what: 'namespaces that have a label, of which a Node is in none',
    policy: (spec) => set(spec, 'matchConstraints.namespaceSelector', { matchLabels: { protected: 'true' } }),
    found: [],
    isOpen: false,
  },
  {
    what: 'an exception for a program',
    policy: (spec) => ({
      ...spec,
      matchConditions: [
        ...listAt(spec, 'matchConditions'),
        { name: 'not-the-controller', expression: "request.userInfo.username != 'controller'" },
      ],
    }),
    found: ['narrowed'],
    isOpen: true,
  },
  {
    what: 'a binding to some Nodes',
    binding: (spec) => ({
      ...spec,
      matchResources: { objectSelector: { matchLabels: { protected: 'true' } } },
    }),
    found: ['narrowed'],
    isOpen: true,
  },
  {
    what: 'a binding to other resources',
    binding: (spec) => ({ ...spec, matchResources: { resourceRules: [other] } }),
    found: ['narrowed'],
    isOpen: true,
  },
  {
    what: 'a binding that names all in other words',
    binding: (spec) => ({ ...spec, matchResources: { matchPolicy: 'Equivalent', objectSelector: {} } }),
    found: [],
    isOpen: false,
  },
  {
    what: 'a binding with parameters that are not there',
    policy: (spec) => ({ ...spec, paramKind: { apiVersion: 'v1', kind: 'ConfigMap' } }),
    binding: (spec) => ({
      ...spec,
      paramRef: { name: 'none', namespace: 'assay', parameterNotFoundAction: 'Allow' },
    }),
    found: ['narrowed'],
    isOpen: true,
  },
];

describe('what admission lets pass of the marks', () => {
  let api: ApiServer;
  let room: Opened;
  const asked = async (method: string, path: string, body?: Json, contentType?: string) => {
    const { code, text, body: answer } = await api.as(administrator).request(method, path, body, contentType);
    assert.ok(code < 300, `${method} ${path}: ${text}`);
    return answer ?? {};
  };
  before(async () => {
    api = await openApiServer();
    for (const object of manifestFiles.flatMap(objectsOf)) await asked('POST', collectionOf(object), object);
    await asked('POST', `${roles}/clusterroles`, {
      metadata: { name: 'controller' },
      rules: [{ apiGroups: [''], resources: ['nodes'], verbs: ['get', 'patch'] }],
    });
    await asked('POST', `${roles}/clusterrolebindings`, {
      metadata: { name: 'controller' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'controller' },
      subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: controller.name }],
    });
    await api.createNode('node-1');
    room = await opened(api, { namespace: 'assay' });
  });
  after(async () => {
    await room?.[Symbol.asyncDispose]();
    await api?.[Symbol.asyncDispose]();
  });

  let atStake: readonly ProtectedThing[] = [];
  let now = 0;
  let watch: AdmissionWatch;
  const told: (readonly string[])[] = [];
  beforeEach(() => {
    atStake = protectedThings;
    now = 0;
    told.length = 0;
    watch = new AdmissionWatch({
      admission: room.kubernetes.admission,
      atStake: () => atStake,
      monotonic: () => now,
      report: { unprotected: (faults) => void told.push(faults) },
    });
    api.log.clear();
  });
  afterEach(async () => {
    watch[Symbol.dispose]();
    api.faults.clear();
    // As the manifests have it, whatever the test made of it.
    for (const object of objectsOf('admission/marks.yaml')) {
      await api.as(administrator).request('DELETE', pathOf(object));
      await asked('POST', collectionOf(object), object);
    }
  });

  const found = () => watch.gaps.map(({ protects, cause }) => `${protects} ${cause}`);
  const look = async () => {
    await watch.turn();
    return found();
  };
  const change = async (collection: string, to: (spec: JsonObject) => JsonObject | null) => {
    const path = `${collection}/assay-marks`;
    const object = await asked('GET', path);
    const spec = to(isObject(object.spec) ? object.spec : assert.fail());
    if (spec === null) await asked('DELETE', path);
    else await asked('PUT', path, { ...object, spec });
  };
  const forge = async () => {
    const { code } = await api
      .as(controller)
      .request(
        'PATCH',
        '/api/v1/nodes/node-1?dryRun=All',
        { metadata: { labels: { [trustedLabel]: 'true' } } },
        'application/merge-patch+json',
      );
    return code === 200;
  };

  for (const { what, policy, binding, found: causes, isOpen } of changes)
    it(`is found as the API has it: ${what} (row 300)`, async () => {
      if (policy !== undefined) await change(policies, policy);
      if (binding !== undefined) await change(bindings, binding);
      assert.deepEqual(
        await look(),
        causes.map((cause) => `marks ${cause}`),
      );
      assert.equal(await forge(), isOpen);
      assert.deepEqual(told.length, causes.length === 0 ? 0 : 1);
    });

  it('is found of each policy that the manifests have', async () => {
    for (const thing of protectedThings) {
      const file = `admission/${thing}.yaml` as const;
      for (const object of objectsOf(file)) await asked('DELETE', pathOf(object));
      assert.deepEqual(await look(), [`${thing} missing`]);
      now += 10_000;
      for (const object of objectsOf(file)) await asked('POST', collectionOf(object), object);
      assert.deepEqual(await look(), []);
      now += 60_000;
    }
  });

  it('is asked of what is at stake alone, at once when it is, and then once a minute', async () => {
    const gets = () => room.asked.filter((line) => line.includes('validatingadmission')).length;
    const before = gets();
    atStake = [];
    await look();
    assert.equal(gets(), before);
    atStake = ['marks', 'attestations'];
    await look();
    assert.equal(gets(), before + 4);
    now += 59_999;
    await look();
    assert.equal(gets(), before + 4);
    now += 1;
    await look();
    assert.equal(gets(), before + 8);
    atStake = protectedThings;
    await look();
    assert.equal(gets(), before + 14);
  });

  it('is told where it begins, is looked at again soon, and is told where it is over', async () => {
    await change(bindings, (spec) => ({ ...spec, validationActions: ['Audit'] }));
    assert.deepEqual(await look(), ['marks not_denying']);
    now += 10_000;
    assert.deepEqual(await look(), ['marks not_denying']);
    await change(bindings, (spec) => ({ ...spec, validationActions: ['Deny'] }));
    now += 9_999;
    assert.deepEqual(await look(), ['marks not_denying']);
    now += 1;
    assert.deepEqual(await look(), []);
    assert.deepEqual(
      told.map((faults) => faults.length),
      [1, 0],
    );
  });

  it('is nothing where this server does not mark any more', async () => {
    await change(bindings, () => null);
    assert.deepEqual(await look(), ['marks missing']);
    atStake = [];
    assert.deepEqual(await look(), []);
  });

  it('is not known where the right to read it is missing, and never taken for well', async () => {
    await look();
    assert.deepEqual(found(), []);
    const role = objectsOf('rbac/server.yaml').find(
      (object) => nameOf(object) === 'assay-server' && object.kind === 'ClusterRole',
    );
    assert.ok(role);
    const held = await asked('GET', pathOf(role));
    const without = listAt(held, 'rules').filter(
      (rule) => !JSON.stringify(at(rule, 'apiGroups')).includes('admissionregistration'),
    );
    assert.equal(without.length, listAt(held, 'rules').length - 1);
    await asked('PUT', pathOf(role), { ...held, rules: without });
    now += 60_000;
    assert.deepEqual(await look(), ['marks unread', 'attestations unread', 'latch unread']);
    assert.match(room.kubernetes.faults().join(), /no right to get validatingadmissionpolicybindings/);
    await asked('PUT', pathOf(role), { ...(await asked('GET', pathOf(role))), rules: listAt(held, 'rules') });
    now += 10_000;
    assert.deepEqual(await look(), []);
    assert.deepEqual(room.kubernetes.faults(), []);
  });

  it('says nothing of what it was asked for once it ended', async () => {
    await change(bindings, () => null);
    const looking = watch.turn();
    watch[Symbol.dispose]();
    await looking;
    assert.deepEqual([found(), told], [[], []]);
  });
});

function withRule(change: JsonObject): (spec: JsonObject) => JsonObject {
  return (spec) =>
    set(
      spec,
      rules,
      listAt(spec, ...rules.split('.')).map((rule) => ({ ...(isObject(rule) && rule), ...change })),
    );
}

function set(spec: JsonObject, path: string, value: Json): JsonObject {
  const [first = '', last = ''] = path.split('.');
  const held = spec[first];
  return { ...spec, [first]: { ...(isObject(held) && held), [last]: value } };
}
