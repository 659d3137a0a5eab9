import { at, isObject, type Json, type JsonObject, textAt, textsAt } from './json.ts';
import { type Cause, forbiddenField, invalidValue, notSupported, required } from './status.ts';
import { checkSchema } from './structural-schema.ts';

/** What makes a schema not structural, or no schema that the API takes. */
export function checkStructure(schema: Json | undefined, path: string, isRoot = true): readonly Cause[] {
  if (!isObject(schema)) return [required(path, 'schemas are required')];
  const unknown = Object.keys(schema).filter((name) => !schemaWords.has(name));
  const causes: Cause[] = [
    ...unknown.map((name) => invalidValue(`${path}.${name}`, name, 'no word of a structural schema')),
    ...checkType(schema, path, isRoot),
    ...checkDefault(schema, path),
    ...checkPattern(schema, path),
    ...checkListType(schema, path),
  ];
  if (schema.properties !== undefined && schema.additionalProperties !== undefined) {
    const why = 'additionalProperties and properties are mutual exclusive';
    causes.push(forbiddenField(`${path}.additionalProperties`, why));
  }
  if (schema.type === 'array' && schema.items === undefined) {
    causes.push(required(`${path}.items`, 'must be specified'));
  }
  if (schema.items !== undefined) causes.push(...checkStructure(schema.items, `${path}.items`, false));
  if (isObject(schema.additionalProperties)) {
    causes.push(...checkStructure(schema.additionalProperties, `${path}.additionalProperties`, false));
  }
  for (const [name, member] of Object.entries(isObject(schema.properties) ? schema.properties : {})) {
    const inner = `${path}.properties[${name}]`;
    if (isRoot && name === 'metadata') causes.push(...checkMetadataSchema(member, inner));
    else causes.push(...checkStructure(member, inner, false));
  }
  return causes;
}

const schemaWords: ReadonlySet<string> = new Set([
  ...['type', 'description', 'title', 'format', 'properties', 'additionalProperties', 'items', 'required'],
  ...['enum', 'pattern', 'minLength', 'maxLength', 'minimum', 'maximum', 'exclusiveMinimum'],
  ...['exclusiveMaximum', 'multipleOf', 'minItems', 'maxItems', 'minProperties', 'maxProperties', 'default'],
  ...['nullable', 'example', 'externalDocs', 'oneOf', 'anyOf', 'allOf', 'not'],
  ...['preserve-unknown-fields', 'int-or-string', 'embedded-resource', 'list-type', 'list-map-keys'].map(
    (name) => `x-kubernetes-${name}`,
  ),
  ...['x-kubernetes-map-type', 'x-kubernetes-validations'],
]);

const types: readonly string[] = ['array', 'boolean', 'integer', 'number', 'object', 'string'];

function checkType(schema: JsonObject, path: string, isRoot: boolean): readonly Cause[] {
  const field = `${path}.type`;
  const { type } = schema;
  if (type === undefined) {
    if (isRoot) return [required(field, 'must not be empty at the root')];
    const isFree = schema['x-kubernetes-preserve-unknown-fields'] === true;
    if (isFree || schema['x-kubernetes-int-or-string'] === true) return [];
    return [required(field, 'must not be empty for specified object fields')];
  }
  if (!types.some((known) => known === type)) return [notSupported(field, type, types)];
  return isRoot && type !== 'object' ? [invalidValue(field, type, 'must be object at the root')] : [];
}

function checkDefault(schema: JsonObject, path: string): readonly Cause[] {
  if (schema.default === undefined) return [];
  const [fault] = checkSchema(schema.default, schema, '');
  return fault === undefined ? [] : [invalidValue(`${path}.default`, schema.default, fault.message)];
}

function checkPattern({ pattern }: JsonObject, path: string): readonly Cause[] {
  if (typeof pattern !== 'string') return [];
  try {
    new RegExp(pattern, 'u');
    return [];
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return [
      invalidValue(`${path}.pattern`, pattern, `must be a valid regular expression, but isn't: ${why}`),
    ];
  }
}

function checkListType(schema: JsonObject, path: string): readonly Cause[] {
  if (schema['x-kubernetes-list-type'] === 'map') return checkMapList(schema, path);
  if (schema['x-kubernetes-list-type'] !== 'set') return [];
  const wanted = [
    ['object', 'x-kubernetes-map-type'],
    ['array', 'x-kubernetes-list-type'],
  ] as const;
  return wanted
    .filter(
      ([type, word]) =>
        textAt(schema, 'items', 'type') === type && textAt(schema, 'items', word) !== 'atomic',
    )
    .map(([, word]) => {
      const why = 'must be atomic as item of a list with x-kubernetes-list-type=set';
      return invalidValue(`${path}.items.${word}`, textAt(schema, 'items', word), why);
    });
}

/** Its keys are texts or numbers that each item has. */
function checkMapList(schema: JsonObject, path: string): readonly Cause[] {
  const field = `${path}.x-kubernetes-list-map-keys`;
  const keys = textsAt(schema, 'x-kubernetes-list-map-keys');
  if (keys.length === 0) return [required(field)];
  if (keys.some((key) => at(schema, 'items', 'properties', key) === undefined)) {
    return [invalidValue(field, keys, 'entries must all be names of item properties')];
  }
  const needed = textsAt(schema, 'items', 'required');
  return keys
    .filter((key) => !needed.includes(key) && at(schema, 'items', 'properties', key, 'default') === undefined)
    .map((key) =>
      required(`${path}.items.properties[${key}].default`, 'a key of a list is required or has a default'),
    );
}

/** The API itself knows the metadata. */
function checkMetadataSchema(schema: Json, path: string): readonly Cause[] {
  const members = at(schema, 'properties');
  const others = Object.keys(isObject(members) ? members : {}).filter(
    (name) => !['name', 'generateName'].includes(name),
  );
  if (others.length === 0) return [];
  const why =
    'must not specify anything other than name and generateName, but metadata is implicitly specified';
  return [forbiddenField(path, why)];
}
