import {
  at,
  isEqual,
  isList,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  textAt,
  textsAt,
} from './json.ts';
import type { ListShape, ListShapes } from './list-shapes.ts';
import { metadataLists } from './list-shapes.ts';
import { type Cause, duplicate, invalidValue, notSupported, required, tooLong, tooMany } from './status.ts';

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

/** What does not fit the schema. What is as it was in `old` is not looked at: a schema that became stricter stops no other change. */
export function checkSchema(
  value: Json,
  schema: Json | undefined,
  path: string,
  old?: Json,
): readonly Cause[] {
  if (!isObject(schema) || (old !== undefined && isEqual(value, old))) return [];
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
  if (isList(value)) return [...causes, ...checkList(value, schema, path, old)];
  if (isObject(value)) return [...causes, ...checkMembers(value, schema, path, old)];
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

/** Without members that are null and may not be: a write that is no apply loses them, unless they have a default. */
export function withoutNulls(value: Json, schema: Json | undefined): Json {
  if (!isObject(schema)) return value;
  if (isList(value)) return value.map((item) => withoutNulls(item, schema.items));
  if (!isObject(value)) return value;
  const properties = isObject(schema.properties) ? schema.properties : {};
  const kept = Object.entries(value).flatMap(([name, member]) => {
    const its = Object.hasOwn(properties, name) ? properties[name] : schema.additionalProperties;
    if (member === null && isObject(its) && its.nullable !== true && its.default === undefined) return [];
    return [[name, withoutNulls(member, its)] as const];
  });
  return Object.fromEntries(kept);
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
    causes.push(tooLong(path, maxLength));
  }
  if (typeof minLength === 'number' && length < minLength) {
    causes.push(invalidValue(path, value, `should be at least ${minLength} chars long`));
  }
  if (typeof pattern === 'string' && !new RegExp(pattern, 'u').test(value)) {
    causes.push(invalidValue(path, value, `should match '${pattern}'`));
  }
  if (format === 'date-time' && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i.test(value)) {
    const { message } = invalidValue(path, value, `${path} in body must be of type date-time`);
    causes.push({ type: 'FieldValueTypeInvalid', field: path, message });
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

function checkList(value: readonly Json[], schema: JsonObject, path: string, old?: Json): readonly Cause[] {
  const { minItems, maxItems } = schema;
  const causes: Cause[] = value.flatMap((item, index) =>
    checkSchema(item, schema.items, `${path}[${index}]`, fellowOf(item, old, schema)),
  );
  if (typeof minItems === 'number' && value.length < minItems) {
    causes.push(invalidValue(path, value.length, `should have at least ${minItems} items`));
  }
  if (typeof maxItems === 'number' && value.length > maxItems) {
    causes.push(tooMany(path, value.length, maxItems));
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

function checkMembers(value: JsonObject, schema: JsonObject, path: string, old?: Json): readonly Cause[] {
  const inner = (name: string) => (path === '' ? name : `${path}.${name}`);
  const properties = isObject(schema.properties) ? schema.properties : {};
  const { minProperties, maxProperties } = schema;
  const count = Object.keys(value).length;
  const causes: Cause[] = textsAt(schema, 'required')
    .filter((name) => !Object.hasOwn(value, name))
    .map((name) => required(inner(name)));
  for (const [name, member] of Object.entries(value)) {
    const its = Object.hasOwn(properties, name) ? properties[name] : schema.additionalProperties;
    causes.push(...checkSchema(member, its, inner(name), at(old, name)));
  }
  if (typeof minProperties === 'number' && count < minProperties) {
    causes.push(invalidValue(path, count, `should have at least ${minProperties} properties`));
  }
  if (typeof maxProperties === 'number' && count > maxProperties) {
    causes.push(tooMany(path, count, maxProperties));
  }
  return causes;
}

/** The item of the old list with the same keys. Items of other lists have no past. */
export function fellowOf(item: Json, old: Json | undefined, schema: JsonObject): Json | undefined {
  if (schema['x-kubernetes-list-type'] !== 'map' || !isList(old) || !isObject(item)) return undefined;
  const keys = textsAt(schema, 'x-kubernetes-list-map-keys');
  return old.find((other) => isObject(other) && keys.every((key) => isEqual(other[key], item[key])));
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
