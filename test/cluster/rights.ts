import assert from 'node:assert/strict';
import { before, describe, it } from 'mocha';
import { neededRights } from '../../attest-server/kubernetes/rights.ts';
import { type JsonObject, textAt, textsAt } from '../../swtpm-fixtures/api-server/json.ts';
import { kubelet, type User } from '../../swtpm-fixtures/api-server/users.ts';
import { agent, needs, nodeOf, personOf, server, type World } from './world.ts';

/** `VERBS RESOURCE[/SUBRESOURCE][.GROUP] [in NAMESPACE] [called NAME]`. */
export const rights: readonly (readonly [
  who: string,
  User,
  allowed: readonly string[],
  denied: readonly string[],
])[] = [
  [
    'the server',
    server,
    neededRights({
      namespace: 'assay',
      authorities: { namespace: 'assay-agents', name: 'assay-authority' },
      takesTokens: true,
      takesPeople: true,
    }).map(({ verbs, resource, group, namespace, name }) =>
      [
        `${verbs.join()} ${resource}${group === '' ? '' : `.${group}`}`,
        ...(namespace === null ? [] : [`in ${namespace}`]),
        ...(name === null ? [] : [`called ${name}`]),
      ].join(' '),
    ),
    [
      'create,update,delete nodes',
      'update nodes/status',
      'delete,update assaylatches.assay.dev',
      'exempt,read,operate,administer attestations.assay.dev',
      'create,delete,patch pods in assay',
      'create pods/eviction in default',
      'get,list secrets in assay',
      'get,create configmaps in default',
      'get,update,patch,delete configmaps in assay called assay-server',
      'get,create,update configmaps in assay-agents',
      'patch,delete configmaps in assay-agents called assay-authority',
      'get,update leases.coordination.k8s.io in kube-node-lease called node-1',
      'get,update leases.coordination.k8s.io in assay called another',
      'create serviceaccounts/token in assay-agents called assay-agent',
      'list namespaces',
      'impersonate users',
      'create,update,patch,delete clusterroles.rbac.authorization.k8s.io',
      'update,delete customresourcedefinitions.apiextensions.k8s.io',
      'list,create,update,patch,delete validatingadmissionpolicies.admissionregistration.k8s.io',
      'list,create,update,patch,delete validatingadmissionpolicybindings.admissionregistration.k8s.io called assay-marks',
      'get validatingadmissionpolicybindings.admissionregistration.k8s.io called another',
    ],
  ],
  [
    'an agent',
    agent,
    [],
    [
      'get,list,watch,patch nodes',
      'patch nodes/status',
      'get,list pods',
      'get nodeattestations.assay.dev',
      'get configmaps in assay-agents',
      'create tokenreviews.authentication.k8s.io',
      'mark,read,exempt attestations.assay.dev',
    ],
  ],
  [
    'a reader',
    personOf('reader'),
    [
      'read attestations.assay.dev',
      'get,list,watch nodeattestations.assay.dev',
      'get assaylatches.assay.dev',
    ],
    ['operate,administer,exempt,mark attestations.assay.dev', 'patch,delete nodeattestations.assay.dev'],
  ],
  [
    'an operator',
    personOf('operator'),
    ['read,operate attestations.assay.dev'],
    ['administer,exempt,mark attestations.assay.dev', 'patch nodes'],
  ],
  [
    'an admin',
    personOf('admin'),
    ['read,operate,administer attestations.assay.dev'],
    ['exempt,mark attestations.assay.dev', 'patch nodes', 'create,patch assaylatches.assay.dev'],
  ],
  [
    'who may exempt',
    personOf('exempt'),
    [
      'exempt attestations.assay.dev',
      'get,list,patch nodes',
      'patch nodes/status',
      'delete nodeattestations.assay.dev',
      'get leases.coordination.k8s.io in assay called assay-server',
    ],
    [
      'update leases.coordination.k8s.io in assay called assay-server',
      'mark,read,operate,administer attestations.assay.dev',
      'delete nodes',
      'patch,delete assaylatches.assay.dev',
    ],
  ],
];

/** What the roles of manifests/base/rbac grant, and what they do not. */
export function describeRights(worldOf: () => World): void {
  describe('rights', () => {
    let world: World;
    before(() => {
      world = worldOf();
    });
    for (const [who, user, allowed, denied] of rights) {
      it(`${who} may do what is listed and nothing beside it`, async function () {
        needs(this, world, 'rbac');
        const answers = async (lines: readonly string[]) => {
          const single = lines.flatMap(actionsOf);
          const found = await Promise.all(single.map(([, attributes]) => world.may(user, attributes)));
          return single.map(([text], index) => `${text}: ${found[index]}`);
        };
        const wanted = (lines: readonly string[], may: boolean) =>
          lines.flatMap(actionsOf).map(([text]) => `${text}: ${may}`);
        assert.deepEqual(await answers(allowed), wanted(allowed, true));
        assert.deepEqual(await answers(denied), wanted(denied, false));
      });
    }

    it('the namespace of the server takes no pod that could become root on its node', async () => {
      const { body } = await world.ask({ method: 'GET', path: '/api/v1/namespaces/assay' });
      assert.equal(textAt(body, 'metadata', 'labels', 'pod-security.kubernetes.io/enforce'), 'restricted');
    });

    it('a token of the agent tells the node of its pod, for the server alone (row 13)', async function () {
      needs(this, world, 'tokenRequest');
      const node = world.named('token');
      await world.installation.make(nodeOf(node, {}));
      const pod = await world.installation.make({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: world.named('agent'), namespace: 'assay-agents' },
        spec: {
          serviceAccountName: 'assay-agent',
          automountServiceAccountToken: false,
          nodeName: node,
          containers: [{ name: 'agent', image: 'example.com/agent:none' }],
        },
      });
      const boundObjectRef = {
        apiVersion: 'v1',
        kind: 'Pod',
        name: textAt(pod, 'metadata', 'name') ?? '',
        uid: textAt(pod, 'metadata', 'uid') ?? '',
      };
      const path = '/api/v1/namespaces/assay-agents/serviceaccounts/assay-agent/token';
      const request = {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: { audiences: ['assay'], expirationSeconds: 600, boundObjectRef },
      };
      const made = await world.ask({ method: 'POST', path, body: request });
      assert.equal(made.code, 201, made.text);
      const token = textAt(made.body, 'status', 'token') ?? '';
      const review = async (audiences: readonly string[]) => {
        const { body } = await world.ask({
          method: 'POST',
          path: '/apis/authentication.k8s.io/v1/tokenreviews',
          body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token, audiences } },
          as: server,
        });
        return body.status;
      };
      const told = await review(['assay']);
      assert.equal(textAt(told, 'user', 'username'), agent.name);
      assert.deepEqual(textsAt(told, 'user', 'extra', 'authentication.kubernetes.io/node-name'), [node]);
      assert.equal(textAt(await review(['another']), 'user', 'username'), undefined);
      if (world.features.nodeRestriction !== null) return;
      const stranger = await world.ask({
        method: 'POST',
        path,
        body: request,
        as: kubelet(world.named('features')),
      });
      assert.equal(stranger.code, 403, stranger.text);
    });
  });
}

function actionsOf(line: string): readonly (readonly [text: string, attributes: JsonObject])[] {
  const [, verbs = '', resource = '', subresource, group = '', namespace, name] =
    /^([\w,]+) (\w+)(?:\/(\w+))?(?:\.([\w.]+))?(?: in (\S+))?(?: called (\S+))?$/.exec(line) ??
    assert.fail(line);
  return verbs.split(',').map((verb) => [
    `${verb} ${line.slice(verbs.length + 1)}`,
    {
      ...{ verb, group, resource },
      ...(subresource !== undefined && { subresource }),
      ...(namespace !== undefined && { namespace }),
      ...(name !== undefined && { name }),
    },
  ]);
}
