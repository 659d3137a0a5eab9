import { randomBytes } from 'node:crypto';
import type { Context } from 'mocha';
import { type JsonObject, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { kubelet, operator, serviceAccount, type User } from '../../swtpm-fixtures/api-server/users.ts';
import { type Asked, ClusterClient, type Reply } from './cluster-client.ts';
import { type Features, findFeatures } from './features.ts';
import { eventually, Installation } from './installation.ts';

export const server = serviceAccount('assay', 'assay-server');
export const agent = serviceAccount('assay-agents', 'assay-agent');
/** A program of the cluster that may write whatever these tests write, and has none of our verbs. */
export const controller = operator('assay-test:controller', 'assay-test:controllers');

/** A role of people that is bound to somebody. */
export const people = ['reader', 'operator', 'admin', 'exempt'] as const;
export type Person = (typeof people)[number];
export const personOf = (role: Person): User => operator(`assay-test:${role}`, `assay-test:${role}s`);

const rbac = 'rbac.authorization.k8s.io';

/** A cluster with the manifests in it, and who tries them. */
export class World implements AsyncDisposable {
  readonly client: ClusterClient;
  readonly installation: Installation;
  readonly features: Features;
  readonly #suffix: string;

  private constructor(client: ClusterClient, installation: Installation, features: Features, suffix: string) {
    this.client = client;
    this.installation = installation;
    this.features = features;
    this.#suffix = suffix;
  }

  static async open(kubeconfig: string): Promise<World> {
    const client = await ClusterClient.open(kubeconfig);
    let installation: Installation | undefined;
    try {
      installation = await Installation.open(client);
      const suffix = randomBytes(4).toString('hex');
      for (const object of helpers) await installation.make(object);
      const node = `assay-test-features-${suffix}`;
      await installation.make(nodeOf(node, {}));
      const account = '/api/v1/namespaces/assay-agents/serviceaccounts/assay-agent';
      const features = await findFeatures(client, { node, account });
      const world = new World(client, installation, features, suffix);
      if (features.rbac === null) await world.#rightsAct();
      return world;
    } catch (error) {
      await installation?.[Symbol.asyncDispose]();
      client[Symbol.dispose]();
      throw error;
    }
  }

  /** A name that no other run has. */
  named(name: string): string {
    return `assay-test-${name}-${this.#suffix}`;
  }

  ask(asked: Asked): Promise<Reply> {
    return this.client.ask(asked);
  }

  /** Whether someone may do something, as the API says. */
  async may(user: User, attributes: JsonObject): Promise<boolean> {
    const { body } = await this.client.ask({
      method: 'POST',
      path: '/apis/authorization.k8s.io/v1/subjectaccessreviews',
      body: {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        spec: { user: user.name, groups: user.groups, resourceAttributes: attributes },
      },
    });
    const { status } = body;
    return typeof status === 'object' && status !== null && 'allowed' in status && status.allowed === true;
  }

  /** What a new binding grants counts a moment later. */
  async #rightsAct(): Promise<void> {
    const wanted = [
      [server, { group: 'assay.dev', resource: 'attestations', verb: 'mark' }],
      [server, { group: '', resource: 'configmaps', namespace: 'assay', verb: 'create' }],
      [server, { group: '', resource: 'events', namespace: 'default', verb: 'create' }],
      [controller, { group: '', resource: 'nodes', verb: 'patch' }],
      ...people.map(
        (role) =>
          [
            personOf(role),
            { group: 'assay.dev', resource: 'attestations', verb: role === 'exempt' ? 'exempt' : 'read' },
          ] as const,
      ),
    ] as const;
    for (const [user, attributes] of wanted) {
      await eventually(`${user.name} may ${attributes.verb}`, async () =>
        (await this.may(user, attributes)) ? true : null,
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.installation[Symbol.asyncDispose]();
    } finally {
      this.client[Symbol.dispose]();
    }
  }
}

/** Skips a test that rests on a part of the API server that is off, and says so. */
export function needs(test: Context, { features }: World, feature: keyof Features): void {
  const why = features[feature];
  if (why === null) return;
  if (!told.has(feature)) console.log(`    SKIPPED where it rests on ${feature}, which is off: ${why}`);
  told.add(feature);
  test.skip();
}

const told = new Set<keyof Features>();

/** A Node with nothing but its name, and these members of its own. */
export function nodeOf(name: string, { spec, metadata, status }: Partial<JsonObject>): JsonObject {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, ...(typeof metadata === 'object' && metadata) },
    ...(spec !== undefined && { spec }),
    ...(status !== undefined && { status }),
  };
}

/** Whether a write came through; else who refused it. */
export function outcomeOf({ code, body, text }: Reply): string {
  if (code >= 200 && code < 300) return 'allowed';
  const [, policy] = /ValidatingAdmissionPolicy '([^']+)'/.exec(text) ?? [];
  return policy ?? `${code} ${textAt(body, 'reason')}: ${textAt(body, 'message')}`;
}

export function userOf(
  who: 'server' | 'kubelet' | 'controller' | 'exempt' | 'admin',
  node: string,
): User | undefined {
  switch (who) {
    case 'server':
      return server;
    case 'kubelet':
      return kubelet(node);
    case 'controller':
      return controller;
    case 'exempt':
      return personOf('exempt');
    case 'admin':
      return undefined;
  }
}

const helpers: readonly JsonObject[] = [
  {
    apiVersion: `${rbac}/v1`,
    kind: 'ClusterRole',
    metadata: { name: 'assay-test-controller' },
    rules: [
      { apiGroups: [''], resources: ['nodes', 'nodes/status'], verbs: ['get', 'create', 'update', 'patch'] },
      {
        apiGroups: ['assay.dev'],
        resources: ['nodeattestations', 'nodeattestations/status', 'assaylatches'],
        verbs: ['get', 'create', 'update', 'patch', 'delete'],
      },
    ],
  },
  ...[
    ['controller', 'assay-test-controller'] as const,
    ...people.map((role) => [role, `assay-${role}`] as const),
  ].map(([who, role]) => ({
    apiVersion: `${rbac}/v1`,
    kind: 'ClusterRoleBinding',
    metadata: { name: `assay-test-${who}` },
    roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: role },
    subjects: [{ apiGroup: rbac, kind: 'Group', name: `assay-test:${who}s` }],
  })),
];
