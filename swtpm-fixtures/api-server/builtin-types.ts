import { checkBinding, checkPolicy } from './admission-policies.ts';
import { configMapStrategy } from './config-map-rules.ts';
import { withoutEmptyLists } from './decode.ts';
import { definitions } from './definitions.ts';
import { coreEvents, modernEvents } from './event-types.ts';
import { isEqual, isList, isObject, type JsonObject, type KubeObject, listAt, without } from './json.ts';
import { leaseStrategy } from './lease-rules.ts';
import { nodeLists, usualLists } from './list-shapes.ts';
import { namespaceStrategy } from './namespace-rules.ts';
import { nodeStrategy } from './node-rules.ts';
import { podStrategy } from './pod-rules.ts';
import type { ResourceType, Strategy } from './resource-type.ts';

/** Objects that are kept as they are said; `status` only through its subresource, where there is one. */
function plainStrategy(hasStatus: boolean): Strategy {
  return {
    prepareCreate(object) {
      const body = hasStatus ? asObject(without(object, 'status'), object) : object;
      return withoutEmptyMembers(body);
    },
    prepareUpdate(object, old, part) {
      if (!hasStatus) return withoutEmptyMembers(object);
      const { status, ...rest } = part === 'status' ? { ...old, metadata: object.metadata } : object;
      const kept = part === 'status' ? object.status : old.status;
      return withoutEmptyMembers({ ...rest, ...(kept !== undefined && { status: kept }) });
    },
    validate: () => [],
  };
}

const usual = {
  shortNames: [],
  namespaced: true,
  subresources: [],
  unconditionalUpdate: true,
  createOnUpdate: false,
  lists: usualLists,
  schema: null,
  strategy: plainStrategy(false),
} satisfies Partial<ResourceType>;

const rbac = { ...usual, group: 'rbac.authorization.k8s.io', version: 'v1', createOnUpdate: true };
const admission = { ...usual, group: 'admissionregistration.k8s.io', version: 'v1', namespaced: false };

export const nodes: ResourceType = {
  ...usual,
  ...{ group: '', version: 'v1', plural: 'nodes', singular: 'node', kind: 'Node', shortNames: ['no'] },
  namespaced: false,
  subresources: ['status'],
  lists: nodeLists,
  strategy: nodeStrategy,
};

const namespaces: ResourceType = {
  ...usual,
  ...{ group: '', version: 'v1', plural: 'namespaces', singular: 'namespace', kind: 'Namespace' },
  shortNames: ['ns'],
  namespaced: false,
  subresources: ['status', 'finalize'],
  strategy: namespaceStrategy,
};

export const serviceAccounts: ResourceType = {
  ...usual,
  ...{
    group: '',
    version: 'v1',
    plural: 'serviceaccounts',
    singular: 'serviceaccount',
    kind: 'ServiceAccount',
  },
  shortNames: ['sa'],
  subresources: ['token'],
  unconditionalUpdate: false,
};

const pods: ResourceType = {
  ...usual,
  ...{ group: '', version: 'v1', plural: 'pods', singular: 'pod', kind: 'Pod', shortNames: ['po'] },
  subresources: ['status', 'binding'],
  strategy: podStrategy,
};

/** All that is there from the start. */
export const builtinTypes: readonly ResourceType[] = [
  nodes,
  namespaces,
  serviceAccounts,
  pods,
  coreEvents,
  modernEvents,
  definitions,
  {
    ...usual,
    ...{ group: '', version: 'v1', plural: 'configmaps', singular: 'configmap', kind: 'ConfigMap' },
    shortNames: ['cm'],
    strategy: configMapStrategy(plainStrategy(false)),
  },
  ...[
    ['services', 'service', 'Service', 'svc'],
    ['resourcequotas', 'resourcequota', 'ResourceQuota', 'quota'],
  ].map(([plural = '', singular = '', kind = '', short = '']) => ({
    ...usual,
    group: '',
    version: 'v1',
    plural,
    singular,
    kind,
    shortNames: [short],
  })),
  ...[
    ['apps', 'statefulsets', 'StatefulSet', 'sts'],
    ['batch', 'jobs', 'Job', ''],
    ['policy', 'poddisruptionbudgets', 'PodDisruptionBudget', 'pdb'],
    ['networking.k8s.io', 'networkpolicies', 'NetworkPolicy', 'netpol'],
  ].map(([group = '', plural = '', kind = '', short = '']) => ({
    ...usual,
    group,
    version: 'v1',
    plural,
    singular: kind.toLowerCase(),
    kind,
    shortNames: short === '' ? [] : [short],
    subresources: group === 'networking.k8s.io' ? [] : ['status'],
    strategy: withGeneration(plainStrategy(group !== 'networking.k8s.io')),
  })),
  {
    ...usual,
    ...{ group: 'apps', version: 'v1', plural: 'daemonsets', singular: 'daemonset', kind: 'DaemonSet' },
    shortNames: ['ds'],
    subresources: ['status'],
    strategy: withGeneration(plainStrategy(true)),
  },
  {
    ...usual,
    ...{ group: 'coordination.k8s.io', version: 'v1', plural: 'leases', singular: 'lease', kind: 'Lease' },
    unconditionalUpdate: false,
    createOnUpdate: true,
    strategy: leaseStrategy,
  },
  { ...rbac, plural: 'roles', singular: 'role', kind: 'Role' },
  { ...rbac, plural: 'rolebindings', singular: 'rolebinding', kind: 'RoleBinding' },
  { ...rbac, plural: 'clusterroles', singular: 'clusterrole', kind: 'ClusterRole', namespaced: false },
  {
    ...rbac,
    ...{ plural: 'clusterrolebindings', singular: 'clusterrolebinding', kind: 'ClusterRoleBinding' },
    namespaced: false,
  },
  {
    ...admission,
    plural: 'validatingadmissionpolicies',
    singular: 'validatingadmissionpolicy',
    kind: 'ValidatingAdmissionPolicy',
    subresources: ['status'],
    unconditionalUpdate: false,
    strategy: { ...withGeneration(withPolicyDefaults(plainStrategy(true))), validate: checkPolicy },
  },
  {
    ...admission,
    plural: 'validatingadmissionpolicybindings',
    singular: 'validatingadmissionpolicybinding',
    kind: 'ValidatingAdmissionPolicyBinding',
    unconditionalUpdate: false,
    strategy: { ...withGeneration(withBindingDefaults(plainStrategy(false))), validate: checkBinding },
  },
];

/** What a policy is matched by, where it says nothing else. */
function withPolicyDefaults(strategy: Strategy): Strategy {
  const complete = (object: KubeObject): KubeObject => {
    const { spec } = object;
    if (!isObject(spec)) return object;
    const matchConstraints = withMatchDefaults(isObject(spec.matchConstraints) ? spec.matchConstraints : {});
    return {
      ...object,
      spec: { failurePolicy: 'Fail', ...spec, matchConstraints },
      status: object.status ?? {},
    };
  };
  return {
    ...strategy,
    prepareCreate: (object) => complete(strategy.prepareCreate(object)),
    prepareUpdate: (object, old, part) => complete(strategy.prepareUpdate(object, old, part)),
  };
}

function withBindingDefaults(strategy: Strategy): Strategy {
  const complete = (object: KubeObject): KubeObject => {
    const { spec } = object;
    if (!isObject(spec) || !isObject(spec.matchResources)) return object;
    return { ...object, spec: { ...spec, matchResources: withMatchDefaults(spec.matchResources) } };
  };
  return {
    ...strategy,
    prepareCreate: (object) => complete(strategy.prepareCreate(object)),
    prepareUpdate: (object, old, part) => complete(strategy.prepareUpdate(object, old, part)),
  };
}

function withMatchDefaults(match: JsonObject): JsonObject {
  const rules = ['resourceRules', 'excludeResourceRules'].filter((name) => isList(match[name]));
  const scoped = rules.map((name) => [
    name,
    listAt(match, name).map((rule) => (isObject(rule) ? { scope: '*', ...rule } : rule)),
  ]);
  const selectors = { namespaceSelector: {}, objectSelector: {} };
  return { matchPolicy: 'Equivalent', ...selectors, ...match, ...Object.fromEntries(scoped) };
}

/** Counts the changes of what is wanted: everything but metadata and status. */
function withGeneration(strategy: Strategy): Strategy {
  const wanted = (object: KubeObject) => without(object, 'metadata', 'status');
  const counted = (object: KubeObject, generation: number): KubeObject => ({
    ...object,
    metadata: { ...object.metadata, generation },
  });
  return {
    ...strategy,
    prepareCreate: (object) => counted(strategy.prepareCreate(object), 1),
    prepareUpdate(object, old, part) {
      const next = strategy.prepareUpdate(object, old, part);
      const before = old.metadata.generation ?? 1;
      return counted(next, isEqual(wanted(next), wanted(old)) ? before : before + 1);
    },
  };
}

function withoutEmptyMembers(object: KubeObject): KubeObject {
  const { apiVersion, kind, metadata, ...body } = object;
  const cleaned = withoutEmptyLists(body);
  return { apiVersion, kind, metadata, ...(isObject(cleaned) ? cleaned : {}) };
}

function asObject(body: ReturnType<typeof without>, { apiVersion, kind, metadata }: KubeObject): KubeObject {
  return { ...body, apiVersion, kind, metadata };
}
