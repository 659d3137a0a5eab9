import type { JsonObject } from './json.ts';

const labels = { 'kubernetes.io/bootstrapping': 'rbac-defaults' };

/** Objects that a new cluster has before anybody writes one, by the plural of their type. */
export const bootstrapObjects: readonly (readonly [plural: string, object: JsonObject])[] = [
  ...['default', 'kube-system', 'kube-public', 'kube-node-lease'].map(
    (name) => ['namespaces', { metadata: { name } }] as const,
  ),
  [
    'services',
    {
      metadata: {
        ...{ name: 'kubernetes', namespace: 'default' },
        labels: { component: 'apiserver', provider: 'kubernetes' },
      },
      spec: { type: 'ClusterIP', ports: [{ name: 'https', protocol: 'TCP', port: 443, targetPort: 6443 }] },
    },
  ],
  role('cluster-admin', [
    { apiGroups: ['*'], resources: ['*'], verbs: ['*'] },
    { nonResourceURLs: ['*'], verbs: ['*'] },
  ]),
  binding('cluster-admin', 'system:masters'),
  role('system:discovery', [
    {
      nonResourceURLs: [
        ...['/api', '/api/*', '/apis', '/apis/*', '/openapi', '/openapi/*'],
        ...['/healthz', '/livez', '/readyz', '/version', '/version/'],
      ],
      verbs: ['get'],
    },
  ]),
  binding('system:discovery', 'system:authenticated'),
  role('system:public-info-viewer', [
    { nonResourceURLs: ['/healthz', '/livez', '/readyz', '/version', '/version/'], verbs: ['get'] },
  ]),
  binding('system:public-info-viewer', 'system:authenticated', 'system:unauthenticated'),
  role('system:basic-user', [
    {
      apiGroups: ['authorization.k8s.io'],
      resources: ['selfsubjectaccessreviews', 'selfsubjectrulesreviews'],
      verbs: ['create'],
    },
    { apiGroups: ['authentication.k8s.io'], resources: ['selfsubjectreviews'], verbs: ['create'] },
  ]),
  binding('system:basic-user', 'system:authenticated'),
  role('system:service-account-issuer-discovery', [
    { nonResourceURLs: ['/.well-known/openid-configuration', '/openid/v1/jwks'], verbs: ['get'] },
  ]),
  binding('system:service-account-issuer-discovery', 'system:serviceaccounts'),
  role('system:auth-delegator', [
    { apiGroups: ['authentication.k8s.io'], resources: ['tokenreviews'], verbs: ['create'] },
    { apiGroups: ['authorization.k8s.io'], resources: ['subjectaccessreviews'], verbs: ['create'] },
  ]),
];

function role(name: string, rules: readonly JsonObject[]): readonly [string, JsonObject] {
  return ['clusterroles', { metadata: { name, labels }, rules }];
}

function binding(name: string, ...groups: readonly string[]): readonly [string, JsonObject] {
  return [
    'clusterrolebindings',
    {
      metadata: { name, labels },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
      subjects: groups.map((group) => ({
        ...{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: group },
      })),
    },
  ];
}
