import { definitions, established, isEstablished } from './definitions.ts';
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
import { type ResourceType, type Strategy, tableOf } from './resource-type.ts';
import { checkRules, hasRules } from './schema-rules.ts';
import type { Cause } from './status.ts';
import { checkSchema, conform, shapesOf, withoutNulls } from './structural-schema.ts';

const table = tableOf(definitions);

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
