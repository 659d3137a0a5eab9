import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { JsonObject } from '../../swtpm-fixtures/api-server/json.ts';
import { relationsOf } from './relations.ts';
import { allManifests } from './renderings.ts';

/** What the chart leaves to others, by the values that ask for it; the namespace of a release is made by `--create-namespace`. */
const broughtByOthers: Readonly<Record<string, readonly string[]>> = {
  'the chart, everything': [
    'ConfigMap assay/api-address',
    'ConfigMap assay/endorsement-roots',
    'ConfigMap assay/fleet',
    'ConfigMap assay/fleet-runtime',
    'ConfigMap assay/own-authorities',
    'ConfigMap assay/webhook-ca',
    'PersistentVolumeClaim assay/copies',
    'PriorityClass important',
    'Secret assay-agents/join-token',
    'Secret assay-agents/registry',
    'Secret assay/cloud',
    'Secret assay/disk-keys',
    'Secret assay/endorsement-roots-of-before',
    'Secret assay/registry',
    'Secret assay/webhook',
  ],
  'the chart, existing-claim': ['PersistentVolumeClaim assay/assay-state'],
  'the chart, minimal': ['Namespace attestation', 'Namespace attestation-agents'],
};

describe('what objects of the manifests name', () => {
  for (const { name, objects } of allManifests)
    it(`is there, in ${name}`, async function () {
      const { faults, needed } = relationsOf(await objects(this));
      assert.deepEqual(faults, []);
      assert.deepEqual(
        needed.filter((title) => title !== 'Namespace assay'),
        broughtByOthers[name] ?? [],
      );
    });

  const pod = { containers: [{ name: 'a', ports: [{ name: 'http', containerPort: 80 }] }] };
  const workload: JsonObject = {
    kind: 'DaemonSet',
    metadata: { name: 'a', namespace: 'n' },
    spec: {
      selector: { matchLabels: { app: 'a' } },
      template: { metadata: { labels: { app: 'a' } }, spec: pod },
    },
  };
  const withPod = (spec: JsonObject): JsonObject => ({
    ...workload,
    spec: { template: { metadata: { labels: { app: 'a' } }, spec: { ...pod, ...spec } } },
  });
  const of = (kind: string, spec: JsonObject): JsonObject => ({
    kind,
    metadata: { name: 'a', namespace: 'n' },
    spec,
  });
  const mounting = (names: readonly string[]) => ({
    containers: [{ name: 'a', volumeMounts: names.map((name) => ({ name, mountPath: `/${name}` })) }],
  });
  const cases: readonly (readonly [what: string, objects: readonly JsonObject[], fault: string])[] = [
    ['one title twice', [workload, workload], 'DaemonSet n/a: is there twice'],
    ['a mount without a volume', [withPod(mounting(['v']))], 'DaemonSet n/a: mounts v, which is no volume'],
    [
      'a volume without a mount',
      [withPod({ volumes: [{ name: 'v', emptyDir: {} }] })],
      'DaemonSet n/a: has the volume v, which nothing mounts',
    ],
    [
      'a selector for other pods',
      [
        of('DaemonSet', {
          selector: { matchLabels: { app: 'b' } },
          template: { metadata: { labels: { app: 'a' } }, spec: pod },
        }),
      ],
      'DaemonSet n/a: its selector is not for its own pods',
    ],
    [
      'a probe of a port that is none',
      [withPod({ containers: [{ name: 'a', livenessProbe: { httpGet: { port: 'http' } } }] })],
      'DaemonSet n/a: livenessProbe asks http, which is no port of it',
    ],
    [
      'a Service without pods',
      [workload, of('Service', { selector: { app: 'b' } })],
      'Service n/a: its selector finds no pod',
    ],
    [
      'a Service of a port that is none',
      [workload, of('Service', { selector: { app: 'a' }, ports: [{ port: 80, targetPort: 'https' }] })],
      'Service n/a: https is no port of the pods that it selects',
    ],
    [
      'a budget without pods',
      [workload, of('PodDisruptionBudget', { selector: { matchLabels: { app: 'b' } } })],
      'PodDisruptionBudget n/a: its selector finds no pod',
    ],
    [
      'a network policy for a port that is none',
      [
        workload,
        of('NetworkPolicy', {
          podSelector: { matchLabels: { app: 'a' } },
          ingress: [{ ports: [{ port: 'https' }] }],
        }),
      ],
      'NetworkPolicy n/a: https is no port of the pods that it selects',
    ],
    [
      'a selector for pods of two kinds',
      [workload, { ...workload, kind: 'Job' }, of('Service', { selector: { app: 'a' } })],
      'Service n/a: its selector finds pods of DaemonSet and Job',
    ],
    [
      'a set without its Service',
      [of('StatefulSet', { serviceName: 'b' })],
      'StatefulSet n/a: there is no Service b',
    ],
    [
      'a monitor without its Service',
      [of('ServiceMonitor', { selector: { matchLabels: { app: 'a' } }, endpoints: [{ port: 'metrics' }] })],
      'ServiceMonitor n/a: no Service that it selects has the port metrics',
    ],
    [
      'a policy that nothing binds',
      [{ kind: 'ValidatingAdmissionPolicy', metadata: { name: 'p' } }],
      'ValidatingAdmissionPolicy p: nothing binds it',
    ],
    [
      'a binding of no policy',
      [{ kind: 'ValidatingAdmissionPolicyBinding', metadata: { name: 'p' }, spec: { policyName: 'q' } }],
      'ValidatingAdmissionPolicyBinding p: there is no policy q',
    ],
  ];
  for (const [what, objects, fault] of cases)
    it(`is missed: ${what}`, () => assert.deepEqual(relationsOf(objects).faults, [fault]));

  it('is listed where nothing brings it', () => {
    const account = { serviceAccountName: 'a', priorityClassName: 'important' };
    const volumes = [
      { name: 'v', configMap: { name: 'c' } },
      { name: 'w', secret: { secretName: 's' } },
    ];
    const binding = {
      kind: 'ClusterRoleBinding',
      metadata: { name: 'b' },
      roleRef: { kind: 'ClusterRole', name: 'r' },
      subjects: [{ kind: 'ServiceAccount', namespace: 'n', name: 'b' }],
    };
    assert.deepEqual(
      relationsOf([withPod({ ...mounting(['v', 'w']), ...account, volumes }), binding]).needed,
      [
        ...['ClusterRole r', 'ConfigMap n/c', 'Namespace n', 'PriorityClass important', 'Secret n/s'],
        ...['ServiceAccount n/a', 'ServiceAccount n/b'],
      ],
    );
  });
});
