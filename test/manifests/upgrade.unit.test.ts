import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { isList, isObject, type Json, type JsonObject } from '../../swtpm-fixtures/api-server/json.ts';
import { obstaclesOf, titleOf } from './upgrade.ts';

const labels = { app: 'a', 'app.kubernetes.io/version': '1' };
const template = { metadata: { labels }, spec: { containers: [{ name: 'a', image: 'a:1' }] } };
const of = (kind: string, members: JsonObject, metadata: JsonObject = {}): JsonObject => ({
  kind,
  metadata: { name: 'a', namespace: 'n', ...metadata },
  ...members,
});
const keep = { annotations: { 'helm.sh/resource-policy': 'keep' } };

const before: readonly JsonObject[] = [
  of('Namespace', {}),
  of('StatefulSet', {
    spec: {
      replicas: 1,
      serviceName: 'a',
      selector: { matchLabels: { app: 'a' } },
      template,
      volumeClaimTemplates: [
        { metadata: { name: 'state' }, spec: { resources: { requests: { storage: '1Gi' } } } },
      ],
    },
  }),
  of('DaemonSet', { spec: { selector: { matchLabels: { app: 'a' } }, template } }),
  of('Job', { spec: { template } }),
  of('Job', { spec: { template } }, { name: 'hook', annotations: { 'helm.sh/hook': 'pre-upgrade' } }),
  of('Service', { spec: { clusterIP: 'None', selector: { app: 'a' } } }),
  of('NetworkPolicy', { spec: { podSelector: { matchLabels: { app: 'a' } } } }),
  of('PodDisruptionBudget', { spec: { selector: { matchLabels: { app: 'a' } } } }),
  of('ClusterRoleBinding', { roleRef: { kind: 'ClusterRole', name: 'a' }, subjects: [] }),
  of('RoleBinding', { roleRef: { kind: 'Role', name: 'a' }, subjects: [] }),
  of('PersistentVolumeClaim', { spec: { accessModes: ['ReadWriteOnce'], storageClassName: 'fast' } }),
  of('PriorityClass', { value: 1 }),
  of('Secret', { type: 'Opaque', data: {} }),
  of('ConfigMap', { immutable: true, data: { a: 'b' } }),
  of('ConfigMap', { data: { a: 'b' } }, { name: 'b' }),
  of('AssayLatch', {}, keep),
  of('ValidatingAdmissionPolicy', {}, keep),
  of('CustomResourceDefinition', {
    spec: {
      group: 'g',
      scope: 'Cluster',
      names: { kind: 'A', plural: 'as' },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: false,
          schema: {
            openAPIV3Schema: {
              type: 'object',
              required: ['a'],
              properties: {
                a: { type: 'string', maxLength: 10, enum: ['x', 'y'] },
                b: { type: 'array', items: { type: 'integer', minimum: 1 } },
                c: { type: 'object', additionalProperties: { type: 'string', pattern: '^a' } },
              },
            },
          },
        },
        { name: 'v2', served: true, storage: true },
      ],
    },
  }),
];

const schemaChanges: readonly (readonly [path: readonly (string | number)[], value: Json, fault: string])[] =
  [
    [['properties', 'a', 'type'], 'integer', 'version v1.a.type may not change'],
    [['required', 1], 'b', 'version v1: b may not become required'],
    [['properties', 'a', 'enum'], ['x', 'z'], 'version v1.a.enum may only grow'],
    [['properties', 'a', 'maxLength'], 9, 'version v1.a.maxLength may not become tighter'],
    [['properties', 'b', 'maxItems'], 3, 'version v1.b.maxItems may not become tighter'],
    [['properties', 'b', 'items', 'minimum'], 2, 'version v1.b.items.minimum may not become tighter'],
    [['properties', 'b'], null, 'version v1.b must stay'],
    [
      ['properties', 'c', 'additionalProperties', 'pattern'],
      '^b',
      'version v1.c.additionalProperties.pattern may not become tighter',
    ],
  ];

describe('what stands in the way of an upgrade', () => {
  it('is nothing where nothing changed', () => assert.deepEqual(obstaclesOf(before, before), []));

  const allowed: readonly (readonly [title: string, path: readonly (string | number)[], value: Json])[] = [
    ['StatefulSet n/a', ['spec', 'replicas'], 2],
    ['StatefulSet n/a', ['spec', 'template', 'spec', 'containers', 0, 'image'], 'a:2'],
    ['DaemonSet n/a', ['spec', 'template', 'metadata', 'labels', 'app.kubernetes.io/version'], '2'],
    ['Job n/hook', ['spec', 'template', 'spec', 'containers', 0, 'image'], 'a:2'],
    ['ClusterRoleBinding n/a', ['subjects'], [{ name: 'b' }]],
    ['ConfigMap n/b', ['data'], {}],
    [
      'CustomResourceDefinition n/a',
      ['spec', 'versions', 0, 'schema', 'openAPIV3Schema', 'properties', 'a'],
      { type: 'string', maxLength: 20, enum: ['x', 'y', 'z'] },
    ],
    ['CustomResourceDefinition n/a', ['spec', 'versions', 2], { name: 'v3', served: true, storage: false }],
  ];
  for (const [title, path, value] of allowed)
    it(`is no change of ${path.join('.')} in ${title}`, () => {
      assert.deepEqual(obstaclesOf(before, withChange(title, path, value)), []);
    });

  const forbidden: readonly (readonly [
    title: string,
    path: readonly (string | number)[],
    value: Json,
    fault: string,
  ])[] = [
    ['StatefulSet n/a', ['spec', 'serviceName'], 'b', 'spec.serviceName may not change'],
    [
      'StatefulSet n/a',
      ['spec', 'podManagementPolicy'],
      'Parallel',
      'spec.podManagementPolicy may not change',
    ],
    ['StatefulSet n/a', ['spec', 'selector', 'matchLabels', 'app'], 'b', 'spec.selector may not change'],
    [
      'StatefulSet n/a',
      ['spec', 'volumeClaimTemplates', 0, 'spec', 'resources', 'requests', 'storage'],
      '2Gi',
      'spec.volumeClaimTemplates may not change',
    ],
    ['DaemonSet n/a', ['spec', 'selector', 'matchLabels', 'b'], 'c', 'spec.selector may not change'],
    [
      'Job n/a',
      ['spec', 'template', 'spec', 'containers', 0, 'image'],
      'a:2',
      'spec.template may not change',
    ],
    ['Service n/a', ['spec', 'clusterIP'], '10.0.0.1', 'spec.clusterIP may not change'],
    ['Service n/a', ['spec', 'selector', 'app'], 'b', 'its selector finds no pod of before'],
    [
      'NetworkPolicy n/a',
      ['spec', 'podSelector', 'matchLabels'],
      { name: 'a' },
      'its selector finds no pod of before',
    ],
    [
      'PodDisruptionBudget n/a',
      ['spec', 'selector', 'matchLabels', 'app.kubernetes.io/version'],
      '2',
      'its selector finds no pod of before',
    ],
    ['ClusterRoleBinding n/a', ['roleRef', 'name'], 'b', 'roleRef may not change'],
    ['RoleBinding n/a', ['roleRef', 'kind'], 'ClusterRole', 'roleRef may not change'],
    [
      'PersistentVolumeClaim n/a',
      ['spec', 'storageClassName'],
      'slow',
      'spec.storageClassName may not change',
    ],
    ['PriorityClass n/a', ['value'], 2, 'value may not change'],
    ['Secret n/a', ['type'], 'kubernetes.io/tls', 'type may not change'],
    ['ConfigMap n/a', ['data', 'a'], 'c', 'data may not change'],
    ['CustomResourceDefinition n/a', ['spec', 'scope'], 'Namespaced', 'spec.scope may not change'],
    ['CustomResourceDefinition n/a', ['spec', 'names', 'plural'], 'bs', 'spec.names.plural may not change'],
    ['CustomResourceDefinition n/a', ['spec', 'versions', 0, 'served'], false, 'version v1 must be served'],
    ['CustomResourceDefinition n/a', ['spec', 'versions', 0, 'name'], 'v3', 'version v1 must stay'],
    [
      'CustomResourceDefinition n/a',
      ['spec', 'versions', 1, 'storage'],
      false,
      'version v2 must stay the one that is stored',
    ],
    ['ValidatingAdmissionPolicy n/a', ['metadata', 'annotations'], {}, 'must be kept by Helm, as before'],
    ...schemaChanges.map(
      ([path, value, fault]) =>
        [
          'CustomResourceDefinition n/a',
          ['spec', 'versions', 0, 'schema', 'openAPIV3Schema', ...path],
          value,
          fault,
        ] as const,
    ),
  ];
  for (const [title, path, value, fault] of forbidden)
    it(`is a change of ${path.join('.')} in ${title}`, () => {
      assert.deepEqual(obstaclesOf(before, withChange(title, path, value)), [`${title}: ${fault}`]);
    });

  for (const title of [
    ...['Namespace n/a', 'StatefulSet n/a', 'PersistentVolumeClaim n/a', 'Secret n/a', 'AssayLatch n/a'],
    ...['ValidatingAdmissionPolicy n/a', 'CustomResourceDefinition n/a'],
  ])
    it(`is that ${title} is gone or has another name`, () => {
      const without = before.filter((one) => titleOf(one) !== title);
      assert.deepEqual(obstaclesOf(before, without), [`${title}: must stay`]);
      assert.deepEqual(obstaclesOf(before, withChange(title, ['metadata', 'name'], 'b')), [
        `${title}: must stay`,
      ]);
    });

  it('is not that an object is gone which holds nothing', () => {
    assert.deepEqual(
      obstaclesOf(
        before,
        before.filter((one) => titleOf(one) !== 'Job n/a'),
      ),
      [],
    );
  });
});

function withChange(title: string, path: readonly (string | number)[], value: Json): readonly JsonObject[] {
  assert.ok(
    before.some((one) => titleOf(one) === title),
    title,
  );
  return before.map((one) => {
    const made = titleOf(one) === title ? changed(one, path, value) : one;
    return isObject(made) ? made : assert.fail(title);
  });
}

function changed(
  object: Json | undefined,
  [first, ...rest]: readonly (string | number)[],
  value: Json,
): Json {
  if (first === undefined) return value;
  if (isList(object)) {
    const items = [...object];
    items[Number(first)] = changed(items[Number(first)], rest, value);
    return items;
  }
  return {
    ...(isObject(object) && object),
    [first]: changed(isObject(object) ? object[first] : undefined, rest, value),
  };
}
