import { withoutEmptyLists } from './decode.ts';
import {
  isEqual,
  isObject,
  type Json,
  type JsonObject,
  type KubeObject,
  listAt,
  textAt,
  without,
} from './json.ts';
import type { Strategy } from './resource-type.ts';
import { type Cause, forbiddenField, required } from './status.ts';

export const mirrorAnnotation = 'kubernetes.io/config.mirror';

/** Core/v1 Pod: what it has by default, and that little of it may change. */
export const podStrategy: Strategy = {
  prepareCreate: (object) =>
    cleaned({
      ...object,
      metadata: { ...object.metadata, generation: 1 },
      spec: withDefaults(object),
      status: { phase: 'Pending', qosClass: 'BestEffort' },
    }),
  prepareUpdate(object, old, part) {
    const [spec = {}, status = {}] =
      part === 'status' ? [old.spec, object.status] : [object.spec, old.status];
    return cleaned({ ...object, spec, status });
  },
  validate: (object, old) => [...checkContainers(object), ...(old === null ? [] : checkUpdate(object, old))],
};

function cleaned(object: KubeObject): KubeObject {
  const { spec = {}, status = {} } = object;
  return { ...object, spec: withoutEmptyLists(spec), status: withoutEmptyLists(status) };
}

/** Of the API itself, and of the admission plugins ServiceAccount, DefaultTolerationSeconds and Priority. */
function withDefaults({ metadata, spec: said = {} }: KubeObject): JsonObject {
  const spec = members(said);
  const isMirror = metadata.annotations?.[mirrorAnnotation] !== undefined;
  const account =
    textAt(spec, 'serviceAccountName') || textAt(spec, 'serviceAccount') || (isMirror ? '' : 'default');
  return {
    ...{ restartPolicy: 'Always', terminationGracePeriodSeconds: 30, dnsPolicy: 'ClusterFirst' },
    ...{ securityContext: {}, schedulerName: 'default-scheduler', enableServiceLinks: true },
    ...{ priority: 0, preemptionPolicy: 'PreemptLowerPriority' },
    ...spec,
    ...(account !== '' && { serviceAccountName: account, serviceAccount: account }),
    containers: listAt(spec, 'containers').map(containerDefaults),
    ...(spec.initContainers != null && {
      initContainers: listAt(spec, 'initContainers').map(containerDefaults),
    }),
    ...(spec.volumes != null && { volumes: listAt(spec, 'volumes').map(volumeDefaults) }),
    tolerations: tolerationsOf(listAt(spec, 'tolerations')),
  };
}

function containerDefaults(container: Json): Json {
  if (!isObject(container)) return container;
  const image = textAt(container, 'image') ?? '';
  const tag = /:([^/@]+)$/.exec(image.replace(/@.*$/, ''))?.[1];
  const isLatest = !image.includes('@') && (tag === undefined || tag === 'latest');
  return {
    resources: {},
    ...{ terminationMessagePath: '/dev/termination-log', terminationMessagePolicy: 'File' },
    imagePullPolicy: isLatest ? 'Always' : 'IfNotPresent',
    ...container,
    ...(container.ports != null && {
      ports: listAt(container, 'ports').map((port) => ({ protocol: 'TCP', ...members(port) })),
    }),
    ...Object.fromEntries(
      ['livenessProbe', 'readinessProbe', 'startupProbe']
        .filter((name) => isObject(container[name]))
        .map((name) => [name, { ...probeDefaults, ...members(container[name]) }]),
    ),
  };
}

const probeDefaults = { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 };

function volumeDefaults(volume: Json): Json {
  if (!isObject(volume)) return volume;
  const name = ['projected', 'secret', 'configMap', 'downwardAPI'].find((source) => isObject(volume[source]));
  if (name === undefined) return volume;
  const sources = listAt(volume, 'projected', 'sources').map((source) =>
    isObject(source) && isObject(source.serviceAccountToken)
      ? { ...source, serviceAccountToken: { expirationSeconds: 3600, ...source.serviceAccountToken } }
      : source,
  );
  return {
    ...volume,
    [name]: { defaultMode: 0o644, ...members(volume[name]), ...(name === 'projected' && { sources }) },
  };
}

/** It stays on a node that is lost for five minutes. */
function tolerationsOf(said: readonly Json[]): readonly Json[] {
  const lacking = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'].filter(
    (key) =>
      !said.some((toleration) => {
        const [its = '', effect = ''] = ['key', 'effect'].map((name) => textAt(toleration, name));
        return (its === key || its === '') && (effect === 'NoExecute' || effect === '');
      }),
  );
  const added = lacking.map((key) => ({
    key,
    operator: 'Exists',
    effect: 'NoExecute',
    tolerationSeconds: 300,
  }));
  return [...said, ...added];
}

function checkContainers({ spec = {} }: KubeObject): readonly Cause[] {
  const containers = listAt(spec, 'containers');
  if (containers.length === 0) return [required('spec.containers')];
  return containers.flatMap((container, index) =>
    ['name', 'image']
      .filter((name) => (textAt(container, name) ?? '') === '')
      .map((name) => required(`spec.containers[${index}].${name}`)),
  );
}

const immutable =
  'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)';

function checkUpdate(object: KubeObject, old: KubeObject): readonly Cause[] {
  const tolerations = listAt(object, 'spec', 'tolerations');
  const keepsTolerations = listAt(old, 'spec', 'tolerations').every((toleration) =>
    tolerations.some((other) => isEqual(other, toleration)),
  );
  if (keepsTolerations && isEqual(fixedPart(object), fixedPart(old))) return [];
  return [forbiddenField('spec', immutable)];
}

function fixedPart({ spec = {} }: KubeObject): JsonObject {
  const fixed = (name: string) => listAt(spec, name).map((one) => without(members(one), 'image'));
  return {
    ...without(members(spec), 'activeDeadlineSeconds', 'tolerations'),
    containers: fixed('containers'),
    initContainers: fixed('initContainers'),
  };
}

function members(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {};
}
