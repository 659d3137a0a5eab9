import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Json, JsonObject } from '../../../swtpm-fixtures/api-server/json.ts';
import { kubernetesFields } from './kubernetes-types.ts';
import { alsoRequired, atMostOne, exactlyOne, listKeys, words } from './kubernetes-words.ts';
import { monitoringDefinitions } from './monitoring-resources.ts';
import { faultsOfObject } from './object-faults.ts';

const meta = { name: 'a', namespace: 'b' };
const container = { name: 'c', image: 'i' };
const pod = (spec: JsonObject): JsonObject => ({ apiVersion: 'v1', kind: 'Pod', metadata: meta, spec });
const podWith = (members: JsonObject): JsonObject => pod({ containers: [container], ...members });
const containerWith = (members: JsonObject): JsonObject =>
  pod({ containers: [{ ...container, ...members }] });
const service = (ports: Json): JsonObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: meta,
  spec: { ports },
});

describe('what an API server would refuse of a manifest', () => {
  const cases: readonly (readonly [what: string, JsonObject, ...faults: readonly string[]])[] = [
    [
      'nothing of a good pod',
      podWith({ nodeSelector: { 'example.com/a': 'b' }, tolerations: [{ operator: 'Exists' }] }),
    ],
    ['an unknown member', podWith({ hostNetwrk: true }), 'Pod a.spec.hostNetwrk: no member of V1PodSpec'],
    [
      'one in a list',
      containerWith({ prots: [] }),
      'Pod a.spec.containers[0].prots: no member of V1Container',
    ],
    [
      'a kind that is none',
      { apiVersion: 'apps/v1', kind: 'NetworkPolicy', metadata: meta },
      'NetworkPolicy a: nobody knows a NetworkPolicy of apps/v1',
    ],
    [
      'no name',
      { apiVersion: 'v1', kind: 'Pod', metadata: {}, spec: { containers: [container] } },
      'Pod ?.metadata.name: is missing',
    ],
    [
      'a name with capitals',
      { ...podWith({}), metadata: { name: 'A' } },
      'Pod A.metadata.name: is no name of an object',
    ],
    ['no image', pod({ containers: [{ name: 'c' }] }), 'Pod a.spec.containers[0].image: is missing'],
    ['null', podWith({ hostNetwork: null }), 'Pod a.spec.hostNetwork: is null'],
    [
      'text for a truth',
      podWith({ hostNetwork: 'true' }),
      'Pod a.spec.hostNetwork: must be true or false, not "true"',
    ],
    ['half a number', podWith({ priority: 1.5 }), 'Pod a.spec.priority: must be a whole number, not 1.5'],
    [
      'a number in the environment',
      containerWith({ env: [{ name: 'A', value: 1 }] }),
      'Pod a.spec.containers[0].env[0].value: must be a text, not 1',
    ],
    [
      'two of one name',
      containerWith({
        env: [
          { name: 'A', value: '1' },
          { name: 'A', value: '2' },
        ],
      }),
      'Pod a.spec.containers[0].env[1]: a second A',
    ],
    [
      'a word that is none',
      containerWith({ imagePullPolicy: 'Allways' }),
      'Pod a.spec.containers[0].imagePullPolicy: "Allways" is none of Always, IfNotPresent, Never',
    ],
    [
      'a capability that is none',
      containerWith({ securityContext: { capabilities: { drop: ['ALL'], add: ['CAP_NET_ADMIN'] } } }),
      'Pod a.spec.containers[0].securityContext.capabilities.add: "CAP_NET_ADMIN" is none of',
    ],
    [
      'a quantity that is none',
      containerWith({ resources: { limits: { memory: '150MB' } } }),
      'Pod a.spec.containers[0].resources.limits.memory: must be a quantity, not "150MB"',
    ],
    [
      'a port that is none',
      service([{ name: 'a', port: 70_000 }]),
      'Service a.spec.ports[0].port: 70000 is no port',
    ],
    [
      'a volume of no kind',
      podWith({ volumes: [{ name: 'v' }] }),
      'Pod a.spec.volumes[0]: has none where one is to be',
    ],
    [
      'a volume of two kinds',
      podWith({ volumes: [{ name: 'v', emptyDir: {}, configMap: { name: 'c' } }] }),
      'Pod a.spec.volumes[0]: has emptyDir and configMap where one is to be',
    ],
    [
      'a probe that asks twice',
      containerWith({ livenessProbe: { exec: { command: ['a'] }, tcpSocket: { port: 1 } } }),
      'Pod a.spec.containers[0].livenessProbe: has exec and tcpSocket where one is to be',
    ],
    [
      'a label that is too long',
      { ...podWith({}), metadata: { ...meta, labels: { a: 'b'.repeat(64) } } },
      `Pod a.metadata.labels.a: ${'b'.repeat(64)} is no value of a label`,
    ],
    [
      'a name of a label that is none',
      { ...podWith({}), metadata: { ...meta, labels: { 'a/b/c': 'd' } } },
      'Pod a.metadata.labels: a/b/c is no name of a label or annotation',
    ],
    [
      'a member that Kubernetes 1.30 does not have',
      podWith({ hostnameOverride: 'x' }),
      'Pod a.spec.hostnameOverride: Kubernetes 1.30 does not know it',
    ],
    [
      'a schema that is not structural',
      {
        apiVersion: 'apiextensions.k8s.io/v1',
        kind: 'CustomResourceDefinition',
        metadata: { name: 'as.example.com' },
        spec: {
          group: 'example.com',
          names: { kind: 'A', plural: 'as' },
          scope: 'Cluster',
          versions: [
            {
              name: 'v1',
              served: true,
              storage: true,
              schema: { openAPIV3Schema: { type: 'object', properties: { spec: { properties: {} } } } },
            },
          ],
        },
      },
      'CustomResourceDefinition as.example.com.spec.versions[v1].schema.openAPIV3Schema.properties[spec].type: Required value',
    ],
    [
      'an unknown member of a resource that is defined beside it',
      {
        apiVersion: 'monitoring.coreos.com/v1',
        kind: 'PodMonitor',
        metadata: meta,
        spec: { selector: {}, podMetricEndpoints: [] },
      },
      'PodMonitor a.spec.podMetricEndpoints: no member of PodMonitor',
    ],
  ];
  for (const [what, object, ...wanted] of cases)
    it(`is named: ${what}`, () => {
      const found = faultsOfObject(object, monitoringDefinitions);
      assert.equal(found.length, wanted.length, found.join('\n'));
      for (const [index, fault] of wanted.entries())
        assert.equal(found[index]?.slice(0, fault.length), fault);
    });

  it('is asked of members that there are', () => {
    const members = new Set(
      Object.entries(kubernetesFields).flatMap(([type, its]) =>
        Object.keys(its).map((name) => `${type}.${name}`),
      ),
    );
    const named = [
      ...Object.keys(words),
      ...Object.keys(listKeys),
      ...[alsoRequired, atMostOne].flatMap((table) =>
        Object.entries(table).flatMap(([type, names]) => names.map((name) => `${type}.${name}`)),
      ),
    ];
    assert.deepEqual(
      named.filter((name) => !members.has(name)),
      [],
    );
    assert.deepEqual(
      Object.keys(exactlyOne).filter((type) => kubernetesFields[type] === undefined),
      [],
    );
  });

  it('is nothing of the definitions that stand for those of the Prometheus operator', () => {
    assert.deepEqual(
      monitoringDefinitions.flatMap((one) => faultsOfObject(one, [])),
      [],
    );
  });
});
