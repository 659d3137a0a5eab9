import { isEqual, isList, isObject, type Json, type JsonObject, listAt, textAt, textsAt } from './json.ts';
import type { ListShape, ListShapes } from './list-shapes.ts';
import { metadataLists } from './list-shapes.ts';
import { type Cause, duplicate, invalidValue, notSupported, required } from './status.ts';

/** Takes away what the schema does not know, and fills in what it has a default for. */
export function conform(
  value: Json,
  schema: Json | undefined,
  path: string,
  unknown: string[],
  isRoot = false,
): Json {
  if (!isObject(schema)) return value;
  if (isList(value)) {
    return value.map((item, index) => conform(item, schema.items, `${path}[${index}]`, unknown));
  }
  if (!isObject(value)) return value;
  const properties = isObject(schema.properties) ? schema.properties : {};
  const others = schema.additionalProperties;
  const keepsUnknown = schema['x-kubernetes-preserve-unknown-fields'] === true;
  const isEmbedded = isRoot || schema['x-kubernetes-embedded-resource'] === true;
  const kept: [string, Json][] = [];
  for (const [name, member] of Object.entries(value)) {
    const inner = path === '' ? name : `${path}.${name}`;
    const its = Object.hasOwn(properties, name) ? properties[name] : undefined;
    if (isEmbedded && ['apiVersion', 'kind', 'metadata'].includes(name)) kept.push([name, member]);
    else if (its !== undefined) {
      // What may not be null and is, is as good as left out where there is a default.
      const isNull = member === null && isObject(its) && its.nullable !== true;
      if (!(isNull && isObject(its) && its.default !== undefined)) {
        kept.push([name, conform(member, its, inner, unknown)]);
      }
    } else if (isObject(others)) kept.push([name, conform(member, others, inner, unknown)]);
    else if (others === true || keepsUnknown) kept.push([name, member]);
    else unknown.push(inner);
  }
  for (const [name, its] of Object.entries(properties)) {
    if (kept.some(([other]) => other === name) || !isObject(its) || its.default === undefined) continue;
    kept.push([name, conform(its.default, its, path === '' ? name : `${path}.${name}`, unknown)]);
  }
  return Object.fromEntries(kept);
}

/** What does not fit the schema. */
export function checkSchema(value: Json, schema: Json | undefined, path: string): readonly Cause[] {
  if (!isObject(schema)) return [];
  if (value === null) {
    if (schema.nullable === true) return [];
    return [typeInvalid(path, value, typeOf(value), textAt(schema, 'type') ?? 'object')];
  }
  const wanted = textAt(schema, 'type');
  const isIntOrString = schema['x-kubernetes-int-or-string'] === true;
  if (isIntOrString && !Number.isInteger(value) && typeof value !== 'string') {
    return [typeInvalid(path, value, typeOf(value), 'integer,string')];
  }
  if (!isIntOrString && wanted !== undefined && !hasType(value, wanted)) {
    return [typeInvalid(path, value, typeOf(value), wanted)];
  }
  const causes = [...checkEnum(value, schema, path), ...checkCombined(value, schema, path)];
  if (typeof value === 'string') return [...causes, ...checkText(value, schema, path)];
  if (typeof value === 'number') return [...causes, ...checkNumber(value, schema, path)];
  if (isList(value)) return [...causes, ...checkList(value, schema, path)];
  if (isObject(value)) return [...causes, ...checkMembers(value, schema, path)];
  return causes;
}

/** How its lists are merged, by path. */
export function shapesOf(schema: Json | undefined): ListShapes {
  const shapes: (readonly [string, ListShape])[] = [...metadataLists];
  const visit = (at: Json | undefined, path: string): void => {
    if (!isObject(at)) return;
    if (at.type === 'array') {
      const keys = textsAt(at, 'x-kubernetes-list-map-keys');
      if (at['x-kubernetes-list-type'] === 'map') shapes.push([path, { keys, strategic: false }]);
      if (at['x-kubernetes-list-type'] === 'set') shapes.push([path, { keys: null, strategic: false }]);
      visit(at.items, path);
      return;
    }
    if (at['x-kubernetes-map-type'] === 'atomic') {
      shapes.push([path, 'atomic']);
      return;
    }
    for (const [name, member] of Object.entries(isObject(at.properties) ? at.properties : {})) {
      visit(member, path === '' ? name : `${path}.${name}`);
    }
  };
  visit(schema, '');
  return new Map(shapes);
}

/** What makes a schema not structural, or no schema that the API takes. */
export function checkStructure(schema: Json | undefined, path: string, isRoot = true): readonly Cause[] {
  if (!isObject(schema)) return [required(path, 'schemas are required')];
  const causes: Cause[] = [];
  const known = Object.keys(schema).filter((name) => !schemaWords.has(name));
  causes.push(
    ...known.map((name) => invalidValue(`${path}.${name}`, name, 'no word of a structural schema')),
  );
  const keepsUnknown = schema['x-kubernetes-preserve-unknown-fields'] === true;
  if (schema.type === undefined && !keepsUnknown && schema['x-kubernetes-int-or-string'] !== true) {
    causes.push(required(`${path}.type`, 'must not be empty for specified object fields'));
  }
  if (isRoot && schema.type !== undefined && schema.type !== 'object') {
    causes.push(invalidValue(`${path}.type`, schema.type, 'must be object at the root'));
  }
  if (schema.properties !== undefined && schema.additionalProperties !== undefined) {
    causes.push(invalidValue(`${path}.additionalProperties`, 'object', 'must not be used with properties'));
  }
  if (schema.type === 'array' && schema.items === undefined) {
    causes.push(required(`${path}.items`, 'must be specified'));
  }
  if (schema['x-kubernetes-list-type'] === 'map') causes.push(...checkMapList(schema, path));
  if (schema.items !== undefined) causes.push(...checkStructure(schema.items, `${path}.items`, false));
  if (isObject(schema.additionalProperties)) {
    causes.push(...checkStructure(schema.additionalProperties, `${path}.additionalProperties`, false));
  }
  for (const [name, member] of Object.entries(isObject(schema.properties) ? schema.properties : {})) {
    if (isRoot && name === 'metadata') continue;
    causes.push(...checkStructure(member, `${path}.properties[${name}]`, false));
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

/** Its keys are texts or numbers that each item has. */
function checkMapList(schema: JsonObject, path: string): readonly Cause[] {
  const keys = textsAt(schema, 'x-kubernetes-list-map-keys');
  if (keys.length === 0) return [required(`${path}.x-kubernetes-list-map-keys`)];
  const needed = textsAt(schema, 'items', 'required');
  return keys
    .filter(
      (key) => !needed.includes(key) && textAt(schema, 'items', 'properties', key, 'default') === undefined,
    )
    .map((key) =>
      required(`${path}.items.properties[${key}].default`, 'a key of a list is required or has a default'),
    );
}

function checkEnum(value: Json, schema: JsonObject, path: string): readonly Cause[] {
  if (!isList(schema.enum) || schema.enum.some((item) => isEqual(item, value))) return [];
  return [notSupported(path, value, schema.enum.map(String))];
}

function checkCombined(value: Json, schema: JsonObject, path: string): readonly Cause[] {
  const fits = (other: Json) => checkSchema(value, other, path).length === 0;
  const causes = listAt(schema, 'allOf').flatMap((other) => checkSchema(value, other, path));
  const any = listAt(schema, 'anyOf');
  if (any.length > 0 && !any.some(fits)) {
    causes.push(invalidValue(path, value, 'must validate at least one schema (anyOf)'));
  }
  const one = listAt(schema, 'oneOf');
  if (one.length > 0 && one.filter(fits).length !== 1) {
    causes.push(invalidValue(path, value, 'must validate one and only one schema (oneOf)'));
  }
  if (isObject(schema.not) && fits(schema.not)) {
    causes.push(invalidValue(path, value, 'must not validate the schema (not)'));
  }
  return causes;
}

function checkText(value: string, schema: JsonObject, path: string): readonly Cause[] {
  const { minLength, maxLength, pattern, format } = schema;
  const { length } = [...value];
  const causes: Cause[] = [];
  if (typeof maxLength === 'number' && length > maxLength) {
    causes.push({
      type: 'FieldValueTooLong',
      field: path,
      message: `Too long: may not be more than ${maxLength} bytes`,
    });
  }
  if (typeof minLength === 'number' && length < minLength) {
    causes.push(invalidValue(path, value, `should be at least ${minLength} chars long`));
  }
  if (typeof pattern === 'string' && !new RegExp(pattern, 'u').test(value)) {
    causes.push(invalidValue(path, value, `should match '${pattern}'`));
  }
  if (format === 'date-time' && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i.test(value)) {
    causes.push(invalidValue(path, value, 'must be of type date-time'));
  }
  return causes;
}

function checkNumber(value: number, schema: JsonObject, path: string): readonly Cause[] {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema;
  const causes: Cause[] = [];
  if (typeof minimum === 'number' && (value < minimum || (exclusiveMinimum === true && value === minimum))) {
    causes.push(invalidValue(path, value, `should be greater than or equal to ${minimum}`));
  }
  if (typeof maximum === 'number' && (value > maximum || (exclusiveMaximum === true && value === maximum))) {
    causes.push(invalidValue(path, value, `should be less than or equal to ${maximum}`));
  }
  if (typeof multipleOf === 'number' && value % multipleOf !== 0) {
    causes.push(invalidValue(path, value, `should be a multiple of ${multipleOf}`));
  }
  return causes;
}

function checkList(value: readonly Json[], schema: JsonObject, path: string): readonly Cause[] {
  const { minItems, maxItems } = schema;
  const causes: Cause[] = value.flatMap((item, index) =>
    checkSchema(item, schema.items, `${path}[${index}]`),
  );
  if (typeof minItems === 'number' && value.length < minItems) {
    causes.push(invalidValue(path, value.length, `should have at least ${minItems} items`));
  }
  if (typeof maxItems === 'number' && value.length > maxItems) {
    causes.push(invalidValue(path, value.length, `must have at most ${maxItems} items`));
  }
  const keys = textsAt(schema, 'x-kubernetes-list-map-keys');
  const kind = schema['x-kubernetes-list-type'];
  if (kind !== 'map' && kind !== 'set') return causes;
  const keyOf = (item: Json): Json =>
    kind === 'set' || !isObject(item) ? item : keys.map((key) => item[key] ?? null);
  for (const [index, item] of value.entries()) {
    const isSecond = value.slice(0, index).some((other) => isEqual(keyOf(other), keyOf(item)));
    if (isSecond) causes.push(duplicate(`${path}[${index}]`, item));
  }
  return causes;
}

function checkMembers(value: JsonObject, schema: JsonObject, path: string): readonly Cause[] {
  const inner = (name: string) => (path === '' ? name : `${path}.${name}`);
  const properties = isObject(schema.properties) ? schema.properties : {};
  const { minProperties, maxProperties } = schema;
  const count = Object.keys(value).length;
  const causes: Cause[] = textsAt(schema, 'required')
    .filter((name) => !Object.hasOwn(value, name))
    .map((name) => required(inner(name)));
  for (const [name, member] of Object.entries(value)) {
    const its = Object.hasOwn(properties, name) ? properties[name] : schema.additionalProperties;
    causes.push(...checkSchema(member, its, inner(name)));
  }
  if (typeof minProperties === 'number' && count < minProperties) {
    causes.push(invalidValue(path, count, `should have at least ${minProperties} properties`));
  }
  if (typeof maxProperties === 'number' && count > maxProperties) {
    causes.push(invalidValue(path, count, `must have at most ${maxProperties} properties`));
  }
  return causes;
}

function typeInvalid(field: string, value: Json, found: string, wanted: string): Cause {
  const text = `${field || '<nil>'} in body must be of type ${wanted}: "${found}"`;
  return {
    type: 'FieldValueTypeInvalid',
    field: field || '<nil>',
    message: `Invalid value: ${JSON.stringify(isObject(value) || isList(value) ? found : value)}: ${text}`,
  };
}

function typeOf(value: Json): string {
  if (value === null) return 'null';
  if (isList(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value;
}

function hasType(value: Json, wanted: string): boolean {
  const found = typeOf(value);
  return found === wanted || (wanted === 'number' && found === 'integer');
}
