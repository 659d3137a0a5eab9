import {
  at,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  textAt,
} from '../../swtpm-fixtures/api-server/json.ts';
import { containersOf, podOf } from './pod-security.ts';
import { podLabelsOf, selectorOf, selects } from './selectors.ts';
import { titleOf } from './upgrade.ts';

interface Relations {
  /** Names and selectors that lead nowhere: `KIND NAME: what`. */
  readonly faults: readonly string[];
  /** Objects that something else has to bring: `KIND [NAMESPACE/]NAME`. */
  readonly needed: readonly string[];
}

/** Whether what objects name is there: pods behind selectors, ports, volumes, accounts, roles, policies. */
export function relationsOf(all: readonly JsonObject[]): Relations {
  const titles = all.map(titleOf);
  const faults = titles
    .filter((title, index) => titles.indexOf(title) !== index)
    .map((title) => `${title}: is there twice`);
  const needed = new Set<string>();
  for (const object of all) {
    const its = [...faultsOfPods(object), ...faultsOfSelector(object, all), ...faultsOfBinding(object, all)];
    faults.push(...its.map((fault) => `${titleOf(object)}: ${fault}`));
    for (const title of namedBy(object)) if (!titles.includes(title)) needed.add(title);
  }
  return { faults, needed: [...needed].sort() };
}

/** What a workload says of its own pod. */
function faultsOfPods(object: JsonObject): readonly string[] {
  const pod = podOf(object);
  if (pod === null) return [];
  const claims = listAt(object, 'spec', 'volumeClaimTemplates').map((claim) =>
    textAt(claim, 'metadata', 'name'),
  );
  const volumes = [...listAt(pod, 'volumes').map((volume) => textAt(volume, 'name')), ...claims];
  const mounted = containersOf(pod).flatMap(({ container }) =>
    listAt(container, 'volumeMounts').map((mount) => textAt(mount, 'name')),
  );
  const labels = podLabelsOf(object);
  const wanted = at(object, 'spec', 'selector', 'matchLabels');
  const ports = portsOf(pod);
  const asked = containersOf(pod).flatMap(({ container }) =>
    ['startupProbe', 'livenessProbe', 'readinessProbe'].flatMap((probe) => {
      const port = ['httpGet', 'tcpSocket']
        .map((way) => at(container, probe, way, 'port'))
        .find((one) => one !== undefined);
      return port === undefined ? [] : [{ probe, port }];
    }),
  );
  return [
    ...mounted.filter((name) => !volumes.includes(name)).map((name) => `mounts ${name}, which is no volume`),
    ...volumes
      .filter((name) => !mounted.includes(name))
      .map((name) => `has the volume ${name}, which nothing mounts`),
    ...(isObject(wanted) && !selects(wanted, labels) ? ['its selector is not for its own pods'] : []),
    ...asked
      .filter(({ port }) => !ports.has(port))
      .map(({ probe, port }) => `${probe} asks ${String(port)}, which is no port of it`),
  ];
}

function faultsOfSelector(object: JsonObject, all: readonly JsonObject[]): readonly string[] {
  const kind = textAt(object, 'kind') ?? '';
  const selector = selectorOf(object);
  if (selector === null) return [];
  const namespaces = listAt(object, 'spec', 'namespaceSelector', 'matchNames');
  const own = textAt(object, 'metadata', 'namespace') ?? '';
  const inReach = all.filter((one) =>
    (namespaces.length > 0 ? namespaces : [own]).includes(textAt(one, 'metadata', 'namespace') ?? ''),
  );
  if (kind === 'ServiceMonitor') {
    const services = inReach.filter(
      (one) =>
        textAt(one, 'kind') === 'Service' &&
        isObject(selector) &&
        selects(selector, at(one, 'metadata', 'labels')),
    );
    const names = services.flatMap((one) => listAt(one, 'spec', 'ports').map((port) => textAt(port, 'name')));
    return listAt(object, 'spec', 'endpoints')
      .map((endpoint) => textAt(endpoint, 'port'))
      .filter((port) => !names.includes(port))
      .map((port) => `no Service that it selects has the port ${port}`);
  }
  const pods = inReach.filter((one) => podOf(one) !== null && selects(selector, podLabelsOf(one)));
  if (pods.length === 0) return ['its selector finds no pod'];
  const kinds = new Set(pods.map((one) => textAt(one, 'kind')));
  const faults = kinds.size > 1 ? [`its selector finds pods of ${[...kinds].join(' and ')}`] : [];
  const ports = new Set(pods.flatMap((one) => [...portsOf(podOf(one) ?? {})]));
  return [
    ...faults,
    ...portsIn(object)
      .filter((port) => !ports.has(port))
      .map((port) => `${String(port)} is no port of the pods that it selects`),
  ];
}

/** Ports of pods that an object names. */
function portsIn(object: JsonObject): readonly Json[] {
  const found = [
    ...listAt(object, 'spec', 'ports').map((port) => at(port, 'targetPort') ?? at(port, 'port')),
    // Those of egress are ports of others.
    ...listAt(object, 'spec', 'ingress').flatMap((rule) =>
      listAt(rule, 'ports').map((port) => at(port, 'port')),
    ),
    ...listAt(object, 'spec', 'podMetricsEndpoints').map((endpoint) => at(endpoint, 'port')),
  ];
  return found.filter((port) => port !== undefined);
}

function faultsOfBinding(object: JsonObject, all: readonly JsonObject[]): readonly string[] {
  const kind = textAt(object, 'kind') ?? '';
  if (kind === 'StatefulSet') {
    const [name, namespace] = [
      textAt(object, 'spec', 'serviceName'),
      textAt(object, 'metadata', 'namespace'),
    ];
    return has(all, `Service ${namespace}/${name}`) ? [] : [`there is no Service ${name}`];
  }
  if (kind === 'ValidatingAdmissionPolicyBinding') {
    const name = textAt(object, 'spec', 'policyName');
    return has(all, `ValidatingAdmissionPolicy ${name}`) ? [] : [`there is no policy ${name}`];
  }
  if (kind === 'ValidatingAdmissionPolicy') {
    const name = textAt(object, 'metadata', 'name');
    const isBound = all.some(
      (one) =>
        textAt(one, 'kind') === 'ValidatingAdmissionPolicyBinding' &&
        textAt(one, 'spec', 'policyName') === name,
    );
    return isBound ? [] : ['nothing binds it'];
  }
  return [];
}

/** Titles of the objects that an object names, and without which it does not work. */
function namedBy(object: JsonObject): readonly string[] {
  const namespace = textAt(object, 'metadata', 'namespace');
  // These are in each cluster.
  const isThere = namespace === undefined || /^(default|kube-.*)$/.test(namespace);
  const named = isThere ? [] : [`Namespace ${namespace}`];
  const pod = podOf(object);
  if (pod !== null) named.push(...namedByPod(pod, namespace ?? ''));
  const role = textAt(object, 'roleRef', 'name');
  if (role !== undefined && !role.startsWith('system:')) {
    const isOfCluster = textAt(object, 'roleRef', 'kind') === 'ClusterRole';
    named.push(isOfCluster ? `ClusterRole ${role}` : `Role ${namespace}/${role}`);
  }
  for (const subject of listAt(object, 'subjects'))
    if (textAt(subject, 'kind') === 'ServiceAccount')
      named.push(`ServiceAccount ${textAt(subject, 'namespace')}/${textAt(subject, 'name')}`);
  return named;
}

function namedByPod(pod: JsonObject, namespace: string): readonly string[] {
  const named: string[] = [];
  const add = (kind: string, name: string | undefined) => {
    if (name !== undefined) named.push(`${kind} ${namespace}/${name}`);
  };
  add('ServiceAccount', textAt(pod, 'serviceAccountName'));
  const priority = textAt(pod, 'priorityClassName');
  if (priority !== undefined && !/^system-(node|cluster)-critical$/.test(priority))
    named.push(`PriorityClass ${priority}`);
  for (const secret of listAt(pod, 'imagePullSecrets')) add('Secret', textAt(secret, 'name'));
  const projected = listAt(pod, 'volumes').flatMap((volume) => listAt(volume, 'projected', 'sources'));
  for (const volume of [...listAt(pod, 'volumes'), ...projected]) {
    if (at(volume, 'configMap', 'optional') !== true) add('ConfigMap', textAt(volume, 'configMap', 'name'));
    if (at(volume, 'secret', 'optional') !== true)
      add('Secret', textAt(volume, 'secret', 'secretName') ?? textAt(volume, 'secret', 'name'));
    add('PersistentVolumeClaim', textAt(volume, 'persistentVolumeClaim', 'claimName'));
  }
  for (const { container } of containersOf(pod)) {
    for (const source of listAt(container, 'envFrom')) {
      add('ConfigMap', textAt(source, 'configMapRef', 'name'));
      add('Secret', textAt(source, 'secretRef', 'name'));
    }
    for (const one of listAt(container, 'env')) {
      add('ConfigMap', textAt(one, 'valueFrom', 'configMapKeyRef', 'name'));
      add('Secret', textAt(one, 'valueFrom', 'secretKeyRef', 'name'));
    }
  }
  return named;
}

function has(all: readonly JsonObject[], title: string): boolean {
  return all.some((one) => titleOf(one) === title);
}

/** By name and by number. */
function portsOf(pod: JsonObject): ReadonlySet<Json> {
  const ports = containersOf(pod).flatMap(({ container }) => listAt(container, 'ports'));
  return new Set(ports.flatMap((port) => [at(port, 'name') ?? null, at(port, 'containerPort') ?? null]));
}
