import { builtinRoots, membersOfBuiltin } from './builtin-fields.ts';
import { isObject, type Json, textsAt } from './json.ts';
import { type ListShapes, metadataLists } from './list-shapes.ts';
import type { ResourceType } from './resource-type.ts';

/** What server-side apply knows of a value: who can own which part of it, and how two of them become one. */
export type FieldType =
  | { readonly kind: 'leaf'; readonly scalar: 'string' | 'number' | 'boolean' | 'any' }
  /** Members that have a name in the schema, and others, if it takes others. */
  | {
      readonly kind: 'map';
      named(name: string): FieldType | null;
      readonly others: FieldType | null;
    }
  /** Items are told apart by these members; null: each is its own key. */
  | { readonly kind: 'list'; readonly keys: readonly string[] | null; readonly item: FieldType }
  /** No schema: maps by member, all else as a whole. */
  | { readonly kind: 'free' };

const leaf: FieldType = { kind: 'leaf', scalar: 'any' };
const text: FieldType = { kind: 'leaf', scalar: 'string' };

/** The type of whole objects of a resource. */
export function fieldTypeOf({ group, kind, lists, schema }: ResourceType): FieldType {
  const its =
    schema === null
      ? builtinField(builtinRoots.get(`${group}/${kind}`) ?? 'any', '', lists)
      : schemaField(schema);
  return {
    kind: 'map',
    named(name) {
      if (name === 'apiVersion' || name === 'kind') return text;
      if (name === 'metadata') return metadata;
      return its.kind === 'map' ? its.named(name) : { kind: 'free' };
    },
    others: its.kind === 'map' ? its.others : { kind: 'free' },
  };
}

const texts: FieldType = { kind: 'map', named: () => null, others: text };
const metadataShapes: ListShapes = new Map(metadataLists);
const metadata: FieldType = {
  kind: 'map',
  named(name) {
    if (name === 'labels' || name === 'annotations') return texts;
    const shape = metadataShapes.get(`metadata.${name}`);
    return shape === undefined || shape === 'atomic' ? leaf : { kind: 'list', keys: shape.keys, item: leaf };
  },
  others: null,
};

function builtinField(type: string, path: string, lists: ListShapes): FieldType {
  const shape = lists.get(path);
  const inner = type.slice(1, -1);
  if (shape === 'atomic') return leaf;
  if (type.startsWith('[')) {
    if (shape === undefined) return leaf;
    return { kind: 'list', keys: shape.keys, item: builtinField(inner, path, new Map()) };
  }
  if (type.startsWith('{')) {
    // A quantity may be written as a number.
    return {
      kind: 'map',
      named: () => null,
      others: quantities.test(path) ? leaf : builtinField(inner, '', lists),
    };
  }
  const members = membersOfBuiltin(type);
  if (members === null) return { kind: 'leaf', scalar: scalars.get(type) ?? 'any' };
  return {
    kind: 'map',
    named(name) {
      const its = Object.hasOwn(members, name) ? members[name] : undefined;
      return its === undefined ? null : builtinField(its, path === '' ? name : `${path}.${name}`, lists);
    },
    others: null,
  };
}

const quantities = /(capacity|allocatable|limits|requests|hard|used|overhead)$/;
const scalars: ReadonlyMap<string, 'string' | 'number' | 'boolean'> = new Map([
  ['string', 'string'],
  ['number', 'number'],
  ['boolean', 'boolean'],
]);

function schemaField(schema: Json | undefined): FieldType {
  if (!isObject(schema)) return { kind: 'free' };
  const { type, items, properties, additionalProperties: others } = schema;
  if (type === 'array') {
    const kind = schema['x-kubernetes-list-type'];
    if (kind === 'set') return { kind: 'list', keys: null, item: schemaField(items) };
    if (kind !== 'map') return leaf;
    return { kind: 'list', keys: textsAt(schema, 'x-kubernetes-list-map-keys'), item: schemaField(items) };
  }
  const keepsUnknown = schema['x-kubernetes-preserve-unknown-fields'] === true;
  if (type === 'object' || (type === undefined && keepsUnknown)) {
    if (schema['x-kubernetes-map-type'] === 'atomic') return leaf;
    return {
      kind: 'map',
      named: (name) =>
        isObject(properties) && Object.hasOwn(properties, name) ? schemaField(properties[name]) : null,
      others: isObject(others)
        ? schemaField(others)
        : keepsUnknown || others === true
          ? { kind: 'free' }
          : null,
    };
  }
  const scalar = type === 'integer' ? 'number' : scalars.get(String(type));
  return { kind: 'leaf', scalar: scalar ?? 'any' };
}
