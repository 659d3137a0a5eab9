import {
  at,
  isEqual,
  isObject,
  type Json,
  type JsonObject,
  type KubeObject,
  listAt,
  textAt,
  textsAt,
  without,
} from './json.ts';
import type { ResourceType } from './resource-type.ts';
import { checkRulesCompile } from './schema-rules.ts';
import { checkStructure } from './schema-structure.ts';
import { type Cause, invalidValue, required } from './status.ts';

export const definitions: ResourceType = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  plural: 'customresourcedefinitions',
  singular: 'customresourcedefinition',
  kind: 'CustomResourceDefinition',
  shortNames: ['crd', 'crds'],
  namespaced: false,
  subresources: ['status'],
  unconditionalUpdate: false,
  createOnUpdate: false,
  lists: new Map(),
  schema: null,
  strategy: {
    prepareCreate: (object) => begun(withNames(object)),
    prepareUpdate(object, old, part) {
      if (part === 'status') return { ...old, metadata: object.metadata };
      const next = withNames(object);
      const generation = old.metadata.generation ?? 1;
      const counted = isEqual(next.spec, old.spec) ? generation : generation + 1;
      return { ...next, metadata: { ...next.metadata, generation: counted }, status: withStored(next, old) };
    },
    prepareDelete: terminating,
    validate: checkDefinition,
  },
};

/** Names that follow from the kind. */
function withNames(object: KubeObject): KubeObject {
  const { spec } = object;
  if (!isObject(spec) || !isObject(spec.names)) return object;
  const kind = textAt(spec, 'names', 'kind') ?? '';
  const names = { singular: kind.toLowerCase(), listKind: `${kind}List`, ...spec.names };
  return { ...object, spec: { conversion: { strategy: 'None' }, ...spec, names } };
}

/** Nothing is served before the names are accepted. */
function begun(object: KubeObject): KubeObject {
  return {
    ...object,
    metadata: { ...object.metadata, generation: 1 },
    status: {
      conditions: null,
      acceptedNames: { plural: '', kind: '' },
      storedVersions: storedIn(object),
    },
  };
}

function storedIn(object: KubeObject): readonly string[] {
  return listAt(object, 'spec', 'versions')
    .filter((version) => at(version, 'storage') === true)
    .map((version) => textAt(version, 'name') ?? '');
}

function withStored(object: KubeObject, { status: old }: KubeObject): JsonObject {
  const storedVersions = [...new Set([...textsAt(old, 'storedVersions'), ...storedIn(object)])];
  return { ...(isObject(old) ? old : {}), storedVersions };
}

/** What its controller says of the names of a new definition: who has them already keeps them. */
export function established(object: KubeObject, others: readonly KubeObject[]): KubeObject {
  const time = object.metadata.creationTimestamp;
  const condition = (type: string, isTrue: boolean, reason: string, message: string) => ({
    ...{ type, status: isTrue ? 'True' : 'False', reason, message, lastTransitionTime: time },
  });
  const names = at(object, 'spec', 'names');
  const isTaken = (name: string) => {
    const its = textAt(names, name);
    return others.some((other) =>
      [...kindNames].some((each) => textAt(other, 'status', 'acceptedNames', each) === its),
    );
  };
  const taken = kindNames.filter(isTaken);
  const last = taken.at(-1);
  if (last === undefined) {
    return withConditions(object, names ?? {}, [
      condition('NamesAccepted', true, 'NoConflicts', 'no conflicts found'),
      condition('Established', true, 'InitialNamesAccepted', 'the initial names have been accepted'),
    ]);
  }
  const free = without(isObject(names) ? names : {}, ...taken);
  const reason = last === 'kind' ? 'KindConflict' : 'ListKindConflict';
  return withConditions(object, { kind: '', ...free }, [
    condition('NamesAccepted', false, reason, `"${textAt(names, last)}" is already in use`),
    condition('Established', false, 'NotAccepted', 'not all names are accepted'),
  ]);
}

const kindNames = ['kind', 'listKind'] as const;

function withConditions(
  object: KubeObject,
  acceptedNames: Json,
  conditions: readonly JsonObject[],
): KubeObject {
  const { status } = object;
  return { ...object, status: { ...(isObject(status) ? status : {}), acceptedNames, conditions } };
}

function terminating(object: KubeObject, time: string): KubeObject {
  const message = 'CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon';
  const condition = { type: 'Terminating', status: 'True', reason: 'InstanceDeletionPending', message };
  const { status, metadata } = object;
  const conditions = [...listAt(status, 'conditions'), { ...condition, lastTransitionTime: time }];
  const finalizers = [...(metadata.finalizers ?? []), 'customresourcecleanup.apiextensions.k8s.io'];
  return {
    ...object,
    metadata: { ...metadata, finalizers, deletionTimestamp: time },
    status: { ...(isObject(status) ? status : {}), conditions },
  };
}

export function isEstablished(object: KubeObject): boolean {
  return listAt(object, 'status', 'conditions').some(
    (condition) => textAt(condition, 'type') === 'Established' && textAt(condition, 'status') === 'True',
  );
}

function checkDefinition(object: KubeObject, old: KubeObject | null): readonly Cause[] {
  const [group = '', plural = '', kind = '', scope = ''] = [
    ['group'],
    ['names', 'plural'],
    ['names', 'kind'],
    ['scope'],
  ].map((path) => textAt(object, 'spec', ...path));
  const causes: Cause[] = [];
  const { name } = object.metadata;
  if (name !== `${plural}.${group}`) {
    causes.push(invalidValue('metadata.name', name, 'must be spec.names.plural+"."+spec.group'));
  }
  for (const [field, value] of [
    ['spec.group', group],
    ['spec.names.plural', plural],
    ['spec.names.kind', kind],
  ] as const) {
    if (value === '') causes.push(required(field));
  }
  if (group !== '' && !group.includes('.')) {
    causes.push(invalidValue('spec.group', group, 'should be a domain with at least one dot'));
  }
  if (scope !== 'Cluster' && scope !== 'Namespaced') {
    causes.push(invalidValue('spec.scope', scope, 'must be Cluster or Namespaced'));
  }
  if (
    /(^|\.)(k8s|kubernetes)\.io$/.test(group) &&
    !object.metadata.annotations?.['api-approved.kubernetes.io']
  ) {
    const field = 'metadata.annotations[api-approved.kubernetes.io]';
    causes.push(required(field, 'protected groups must have approval annotation'));
  }
  const versions = listAt(object, 'spec', 'versions');
  if (versions.filter((version) => at(version, 'storage') === true).length !== 1) {
    causes.push(
      invalidValue(
        'spec.versions',
        versions.length,
        'must have exactly one version marked as storage version',
      ),
    );
  }
  const named = versions.map((version) => textAt(version, 'name') ?? '');
  for (const [index, name] of (old === null ? [] : textsAt(old, 'status', 'storedVersions')).entries()) {
    if (named.includes(name)) continue;
    const why = 'missing from spec.versions; it must remain until nothing is stored in it';
    causes.push(invalidValue(`status.storedVersions[${index}]`, name, why));
  }
  const schemas = versions.map((version) => at(version, 'schema', 'openAPIV3Schema'));
  // One schema for all versions stands above them, as the real one sees it.
  const isShared = schemas.every((schema) => isEqual(schema, schemas[0]));
  for (const [index, schema] of (isShared ? schemas.slice(0, 1) : schemas).entries()) {
    const path = isShared
      ? 'spec.validation.openAPIV3Schema'
      : `spec.versions[${index}].schema.openAPIV3Schema`;
    const structure = checkStructure(schema, path);
    causes.push(...structure, ...(structure.length === 0 ? checkRulesCompile(schema, path) : []));
  }
  return causes;
}
