import {
  at,
  isEqual,
  isObject,
  type JsonObject,
  listAt,
  textAt,
} from '../../swtpm-fixtures/api-server/json.ts';
import { narrowed } from './narrowed-schema.ts';
import { podLabelsOf, selectorOf, selects } from './selectors.ts';

/**
 * Why a cluster that has `before` could not become `after` by an upgrade, or would lose something by it: what the API does not let
 * change, selectors that no longer find the pods of before, versions of resources that are gone or take less, objects that must stay.
 */
export function obstaclesOf(before: readonly JsonObject[], after: readonly JsonObject[]): readonly string[] {
  return before
    .filter((old) => !isMadeAnew(old))
    .flatMap((old) => {
      const next = after.find((one) => titleOf(one) === titleOf(old));
      if (next === undefined) return mustStay(old) ? [`${titleOf(old)}: must stay`] : [];
      const kind = textAt(old, 'kind') ?? '';
      const own = kind in rules ? (rules[kind]?.(old, next) ?? []) : [];
      return [...own, ...faultsOfKeep(old, next), ...faultsOfSelector(next, before)].map(
        (fault) => `${titleOf(old)}: ${fault}`,
      );
    });
}

/** `KIND [NAMESPACE/]NAME`; the version of its group may move. */
export function titleOf(object: JsonObject): string {
  const namespace = textAt(object, 'metadata', 'namespace');
  return `${textAt(object, 'kind')} ${namespace === undefined ? '' : `${namespace}/`}${textAt(object, 'metadata', 'name')}`;
}

type Rule = (old: JsonObject, next: JsonObject) => readonly string[];

const rules: Readonly<Record<string, Rule>> = {
  StatefulSet: (old, next) => {
    const mayChange = new Set([
      ...['replicas', 'ordinals', 'template', 'updateStrategy', 'persistentVolumeClaimRetentionPolicy'],
      'minReadySeconds',
    ]);
    const names = [old.spec, next.spec].flatMap((spec) => (isObject(spec) ? Object.keys(spec) : []));
    return same(...[...new Set(names)].filter((name) => !mayChange.has(name)).map((name) => ['spec', name]))(
      old,
      next,
    );
  },
  DaemonSet: same(['spec', 'selector']),
  Deployment: same(['spec', 'selector']),
  Job: same(['spec', 'template'], ['spec', 'selector'], ['spec', 'completionMode']),
  Service: same(['spec', 'clusterIP'], ['spec', 'clusterIPs']),
  RoleBinding: same(['roleRef']),
  ClusterRoleBinding: same(['roleRef']),
  PersistentVolumeClaim: same(
    ...['accessModes', 'storageClassName', 'volumeName', 'volumeMode', 'selector', 'dataSource'].map(
      (name) => ['spec', name],
    ),
  ),
  PriorityClass: same(['value'], ['preemptionPolicy']),
  Secret: (old, next) => [...same(['type'])(old, next), ...faultsOfImmutable(old, next)],
  ConfigMap: faultsOfImmutable,
  CustomResourceDefinition: (old, next) => [
    ...same(
      ['spec', 'group'],
      ['spec', 'scope'],
      ['spec', 'names', 'kind'],
      ['spec', 'names', 'plural'],
    )(old, next),
    ...faultsOfVersions(old, next),
  ],
};

function same(...paths: readonly (readonly string[])[]): Rule {
  return (old, next) =>
    paths
      .filter((path) => !isEqual(at(old, ...path), at(next, ...path)))
      .map((path) => `${path.join('.')} may not change`);
}

function faultsOfImmutable(old: JsonObject, next: JsonObject): readonly string[] {
  return old.immutable === true ? same(['data'], ['binaryData'], ['immutable'])(old, next) : [];
}

/** Clients use what was served; what was stored stays in the database of the API in that version. */
function faultsOfVersions(old: JsonObject, next: JsonObject): readonly string[] {
  const versionOf = (name: string | undefined) =>
    listAt(next, 'spec', 'versions').find((version) => textAt(version, 'name') === name);
  return listAt(old, 'spec', 'versions').flatMap((version) => {
    const name = textAt(version, 'name');
    const now = versionOf(name);
    if (now === undefined) return [`version ${name} must stay`];
    if (at(version, 'served') === true && at(now, 'served') !== true)
      return [`version ${name} must be served`];
    if (at(version, 'storage') === true && at(now, 'storage') !== true)
      return [`version ${name} must stay the one that is stored`];
    const schema = ['schema', 'openAPIV3Schema'];
    return narrowed(at(version, ...schema), at(now, ...schema), `version ${name}`);
  });
}

function faultsOfKeep(old: JsonObject, next: JsonObject): readonly string[] {
  return isKept(old) && !isKept(next) ? ['must be kept by Helm, as before'] : [];
}

function isKept(object: JsonObject): boolean {
  return textAt(object, 'metadata', 'annotations', 'helm.sh/resource-policy') === 'keep';
}

/** What holds data, and what others rest on: a namespace or a definition takes all with it. */
function mustStay(object: JsonObject): boolean {
  const kinds = [
    'PersistentVolumeClaim',
    'Secret',
    'Namespace',
    'CustomResourceDefinition',
    'AssayLatch',
    'StatefulSet',
  ];
  return isKept(object) || kinds.includes(textAt(object, 'kind') ?? '');
}

/** Until the last pod is replaced, those of before and of after are to be found by one selector. */
function faultsOfSelector(next: JsonObject, before: readonly JsonObject[]): readonly string[] {
  const selector = selectorOf(next);
  // It selects Services, which are replaced at once.
  if (selector === null || textAt(next, 'kind') === 'ServiceMonitor') return [];
  const inReach = before.filter(
    (one) => textAt(one, 'metadata', 'namespace') === textAt(next, 'metadata', 'namespace'),
  );
  const isFound = inReach.some(
    (one) => podLabelsOf(one) !== undefined && selects(selector, podLabelsOf(one)),
  );
  return isFound ? [] : ['its selector finds no pod of before'];
}

/** A hook is deleted and made again by Helm. */
function isMadeAnew(object: JsonObject): boolean {
  return at(object, 'metadata', 'annotations', 'helm.sh/hook') !== undefined;
}
