import {
  at,
  isEqual,
  isList,
  isObject,
  type Json,
  type JsonObject,
  type KubeObject,
  listAt,
  textAt,
  textsAt,
  without,
} from './json.ts';
import type { ObjectStore } from './object-store.ts';
import type { ResourceType, Strategy } from './resource-type.ts';
import { checkRules, checkRulesCompile, hasRules } from './schema-rules.ts';
import { checkStructure } from './schema-structure.ts';
import { type Cause, invalidValue, required } from './status.ts';
import { checkSchema, conform, shapesOf, withoutNulls } from './structural-schema.ts';

const table = 'apiextensions.k8s.io/customresourcedefinitions';

/** The types that definitions of the store make: one for each version that is served. */
export class CustomResources {
  readonly #store: ObjectStore;
  readonly #known = new Map<string, readonly ResourceType[]>();

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  types(): readonly ResourceType[] {
    return this.#store.list(table).flatMap(([name, { object }]) => {
      if (!isEstablished(object)) return [];
      const key = `${name} ${object.metadata.resourceVersion}`;
      const known = this.#known.get(key) ?? typesOf(object);
      this.#known.set(key, known);
      return known;
    });
  }

  /** From now on its objects are served, unless somebody else has its names. */
  establish(definition: KubeObject): void {
    const others = this.#store.list(table).map(([, { object }]) => object);
    const { name } = definition.metadata;
    const its = others.filter(({ metadata }) => metadata.name !== name);
    const group = textAt(definition, 'spec', 'group');
    const ofGroup = its.filter((other) => textAt(other, 'spec', 'group') === group);
    this.#store.put(table, name, established(definition, ofGroup));
  }

  /** A definition that goes takes its objects along. */
  removeOf(definition: KubeObject): void {
    const its = `${textAt(definition, 'spec', 'group')}/${textAt(definition, 'spec', 'names', 'plural')}`;
    for (const [key] of this.#store.list(its)) this.#store.remove(its, key);
  }
}

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
function established(object: KubeObject, others: readonly KubeObject[]): KubeObject {
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

function isEstablished(object: KubeObject): boolean {
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

function typesOf(definition: KubeObject): readonly ResourceType[] {
  const { spec } = definition;
  const group = textAt(spec, 'group') ?? '';
  const plural = textAt(spec, 'names', 'plural') ?? '';
  const kind = textAt(spec, 'names', 'kind') ?? '';
  return listAt(spec, 'versions')
    .filter((version) => at(version, 'served') === true)
    .map((version) => {
      const schema = at(version, 'schema', 'openAPIV3Schema');
      const its = textAt(version, 'name') ?? '';
      const hasStatus = at(version, 'subresources', 'status') !== undefined;
      return {
        ...{ group, version: its, plural, kind },
        singular: textAt(spec, 'names', 'singular') ?? kind.toLowerCase(),
        shortNames: textsAt(spec, 'names', 'shortNames'),
        namespaced: textAt(spec, 'scope') === 'Namespaced',
        subresources: hasStatus ? ['status'] : [],
        unconditionalUpdate: false,
        createOnUpdate: false,
        lists: shapesOf(schema),
        schema: schema ?? {},
        strategy: strategyOf(schema, hasStatus),
        face: faceOf(group, plural, its, definition.metadata.generation === 1 ? undefined : schema),
      };
    });
}

/**
 * All versions are rows of one table; nothing but the name of the version is converted.
 * @param later a schema that may be another than the one under which rows were written: they are read by it
 */
function faceOf(
  group: string,
  plural: string,
  version: string,
  later: Json | undefined,
): NonNullable<ResourceType['face']> {
  const apiVersion = `${group}/${version}`;
  return {
    table: `${group}/${plural}`,
    toStored: (object) => object,
    toShown(object) {
      const shown = object.apiVersion === apiVersion ? object : { ...object, apiVersion };
      if (later === undefined) return shown;
      const read = conform(shown, later, '', [], true);
      const { kind, metadata } = shown;
      return isObject(read) ? { ...read, apiVersion, kind, metadata } : shown;
    },
  };
}

function strategyOf(schema: Json | undefined, hasStatus: boolean): Strategy {
  const wanted = (object: KubeObject) => without(object, 'metadata', ...(hasStatus ? ['status'] : []));
  const counted = (object: KubeObject, generation: number): KubeObject => ({
    ...object,
    metadata: { ...object.metadata, generation },
  });
  return {
    prune(object, isApplied) {
      const unknown: string[] = [];
      const whole = isApplied ? object : withoutNulls(object, withoutMetadata(schema));
      const pruned = conform(whole, schema, '', unknown, true);
      return { object: isObject(pruned) ? pruned : object, unknown };
    },
    prepareCreate(object) {
      const { status, ...rest } = object;
      return counted(hasStatus || status === undefined ? rest : { ...rest, status }, 1);
    },
    prepareUpdate(object, old, part) {
      const before = old.metadata.generation ?? 1;
      if (part === 'status') {
        const { status: _, ...rest } = old;
        return { ...rest, ...(object.status !== undefined && { status: object.status }) };
      }
      const { status, ...rest } = object;
      const kept = hasStatus ? old.status : status;
      const next: KubeObject = { ...rest, ...(kept !== undefined && { status: kept }) };
      return counted(next, isEqual(wanted(next), wanted(old)) ? before : before + 1);
    },
    validate(object, old) {
      const body = (value: KubeObject): Json => ({ ...value, metadata: { name: value.metadata.name } });
      const before = old === null ? undefined : body(old);
      const causes = checkSchema(body(object), withoutMetadata(schema), '', before);
      if (!hasRules(schema)) return causes;
      if (causes.some(({ type }) => blocking.has(type))) return [...causes, rulesNotChecked];
      return [...causes, ...checkRules(body(object), before, schema, '')];
    },
  };
}

/** With one of these no rule is asked: its `self` would not be what it was written for. */
const blocking: ReadonlySet<Cause['type']> = new Set([
  ...(['FieldValueRequired', 'FieldValueNotSupported', 'FieldValueTooLong', 'FieldValueTooMany'] as const),
  'FieldValueTypeInvalid',
]);

const rulesNotChecked: Cause = {
  type: 'FieldValueInvalid',
  field: '<nil>',
  message:
    'Invalid value: "null": some validation rules were not checked because the object was invalid; correct the existing errors to complete validation',
};

/** The API itself knows the metadata; a schema may only narrow the name. */
function withoutMetadata(schema: Json | undefined): Json | undefined {
  if (!isObject(schema) || !isObject(schema.properties) || isList(schema)) return schema;
  return { ...schema, properties: without(schema.properties, 'metadata') };
}
