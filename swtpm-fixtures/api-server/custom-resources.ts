import {
  at,
  isEqual,
  isList,
  isObject,
  type Json,
  type KubeObject,
  listAt,
  textAt,
  textsAt,
  without,
} from './json.ts';
import type { ObjectStore } from './object-store.ts';
import type { ResourceType, Strategy } from './resource-type.ts';
import { checkRules, checkRulesCompile } from './schema-rules.ts';
import { type Cause, invalidValue, required } from './status.ts';
import { checkSchema, checkStructure, conform, shapesOf } from './structural-schema.ts';

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
      const key = `${name} ${object.metadata.resourceVersion}`;
      const known = this.#known.get(key) ?? typesOf(object);
      this.#known.set(key, known);
      return known;
    });
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
  strategy: {
    prepareCreate: (object) => established(withNames(object), 1),
    prepareUpdate(object, old, part) {
      if (part === 'status') return { ...old, metadata: object.metadata };
      const next = withNames(object);
      const generation = old.metadata.generation ?? 1;
      return established(next, isEqual(next.spec, old.spec) ? generation : generation + 1, old);
    },
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

function established(object: KubeObject, generation: number, old?: KubeObject): KubeObject {
  const time = object.metadata.creationTimestamp;
  const condition = (type: string, reason: string, message: string) => ({
    ...{ type, status: 'True', reason, message, lastTransitionTime: time },
  });
  const stored = listAt(object, 'spec', 'versions')
    .filter((version) => at(version, 'storage') === true)
    .map((version) => textAt(version, 'name') ?? '');
  const before = old === undefined ? [] : textsAt(old, 'status', 'storedVersions');
  return {
    ...object,
    metadata: { ...object.metadata, generation },
    status: {
      acceptedNames: at(object, 'spec', 'names') ?? {},
      conditions: [
        condition('NamesAccepted', 'NoConflicts', 'no conflicts found'),
        condition('Established', 'InitialNamesAccepted', 'the initial names have been accepted'),
      ],
      storedVersions: [...new Set([...before, ...stored])],
    },
  };
}

function checkDefinition(object: KubeObject): readonly Cause[] {
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
  for (const [index, version] of versions.entries()) {
    const path = `spec.versions[${index}].schema.openAPIV3Schema`;
    const schema = at(version, 'schema', 'openAPIV3Schema');
    causes.push(...checkStructure(schema, path), ...checkRulesCompile(schema, path));
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
        strategy: strategyOf(schema, hasStatus),
        face: faceOf(group, plural, its),
      };
    });
}

/** All versions are rows of one table; nothing but the name of the version is converted. */
function faceOf(group: string, plural: string, version: string): NonNullable<ResourceType['face']> {
  const as = (object: KubeObject): KubeObject => {
    const apiVersion = `${group}/${version}`;
    return object.apiVersion === apiVersion ? object : { ...object, apiVersion };
  };
  return { table: `${group}/${plural}`, toStored: (object) => object, toShown: as };
}

function strategyOf(schema: Json | undefined, hasStatus: boolean): Strategy {
  const wanted = (object: KubeObject) => without(object, 'metadata', ...(hasStatus ? ['status'] : []));
  const counted = (object: KubeObject, generation: number): KubeObject => ({
    ...object,
    metadata: { ...object.metadata, generation },
  });
  return {
    prune(object) {
      const unknown: string[] = [];
      const pruned = conform(object, schema, '', unknown, true);
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
      const causes = checkSchema(body(object), withoutMetadata(schema), '');
      const earlier = old === null ? [] : checkSchema(body(old), withoutMetadata(schema), '');
      return [
        // What was wrong before and is not touched does not stop an update.
        ...causes.filter((cause) => !earlier.some((other) => isEqual({ ...other }, { ...cause }))),
        ...(causes.length === 0
          ? checkRules(body(object), old === null ? undefined : body(old), schema, '')
          : []),
      ];
    },
  };
}

/** The API itself knows the metadata; a schema may only narrow the name. */
function withoutMetadata(schema: Json | undefined): Json | undefined {
  if (!isObject(schema) || !isObject(schema.properties) || isList(schema)) return schema;
  return { ...schema, properties: without(schema.properties, 'metadata') };
}
