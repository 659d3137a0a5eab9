import { isList, isObject, type Json, type JsonObject } from './json.ts';
import type { ListShapes } from './list-shapes.ts';

/**
 * Paths to leaves of an object, each with its value: what managers own. A step is written as in FieldsV1
 * (`f:spec`, `k:{"type":"Ready"}`, `v:"x"`), and `.` is an item of a list itself.
 */
export type FieldSet = ReadonlyMap<string, Json>;

/** Nobody owns these: they are the object's identity, or the server's own. */
const unowned: ReadonlySet<string> = new Set([
  ...['apiVersion', 'kind'],
  ...['name', 'namespace', 'uid', 'resourceVersion', 'generation', 'managedFields', 'creationTimestamp'].map(
    (name) => `metadata.${name}`,
  ),
  ...['deletionTimestamp', 'deletionGracePeriodSeconds', 'generateName'].map((name) => `metadata.${name}`),
]);

export function fieldsOf(object: JsonObject, shapes: ListShapes): FieldSet {
  const found = new Map<string, Json>();
  visit(object, '', '', shapes, found);
  return found;
}

/** @param steps the path as text, by which sets are compared */
function visit(value: Json, steps: string, path: string, shapes: ListShapes, found: Map<string, Json>): void {
  const shape = shapes.get(path);
  if (isObject(value) && shape !== 'atomic') {
    const members = Object.entries(value);
    if (members.length === 0 && steps !== '') found.set(steps, value);
    for (const [name, member] of members) {
      const inner = path === '' ? name : `${path}.${name}`;
      if (!unowned.has(inner)) visit(member, joined(steps, `f:${name}`), inner, shapes, found);
    }
    return;
  }
  if (!isList(value) || shape === undefined || shape === 'atomic') {
    found.set(steps, value);
    return;
  }
  if (value.length === 0) found.set(steps, value);
  for (const item of value) {
    const inner = joined(steps, stepOf(item, shape.keys));
    if (shape.keys === null) found.set(inner, item);
    else {
      found.set(joined(inner, '.'), true);
      visit(item, inner, path, shapes, found);
    }
  }
}

function joined(steps: string, step: string): string {
  return steps === '' ? step : `${steps}\n${step}`;
}

/** How an item of a list is named in a path. */
export function stepOf(item: Json, keys: readonly string[] | null): string {
  if (keys === null || !isObject(item)) return `v:${JSON.stringify(item)}`;
  const named = keys
    .filter((key) => Object.hasOwn(item, key))
    .map((key) => [key, item[key] ?? null] as const);
  return `k:${JSON.stringify(Object.fromEntries(named))}`;
}

/** The tree that `managedFields` holds. */
export function treeOf(paths: Iterable<string>): JsonObject {
  interface Tree extends Map<string, Tree> {}
  const root: Tree = new Map();
  for (const path of paths) {
    let at = root;
    for (const step of path.split('\n')) {
      const next: Tree = at.get(step) ?? new Map();
      at.set(step, next);
      at = next;
    }
  }
  const written = (tree: Tree): JsonObject =>
    Object.fromEntries(
      [...tree]
        .sort(([one], [other]) => (one < other ? -1 : 1))
        .map(([step, inner]) => [step, written(inner)]),
    );
  return written(root);
}

/** The paths of such a tree. */
export function pathsOf(tree: Json | undefined): readonly string[] {
  const found: string[] = [];
  const walk = (at: Json | undefined, steps: string): void => {
    if (!isObject(at)) return;
    const members = Object.entries(at);
    if (members.length === 0 && steps !== '') found.push(steps);
    for (const [step, inner] of members) walk(inner, joined(steps, step));
  };
  walk(tree, '');
  return found;
}

/** As people read it, in conflicts: `.status.conditions[type="Ready"].status`. */
export function shownPath(path: string): string {
  return path
    .split('\n')
    .filter((step) => step !== '.')
    .map((step) => {
      if (step.startsWith('f:')) return `.${step.slice(2)}`;
      if (step.startsWith('v:')) return `[=${step.slice(2)}]`;
      return `[${step
        .slice(2)
        .replace(/^\{"|\}$/g, '')
        .replaceAll('":', '=')
        .replaceAll(',"', ',')}]`;
    })
    .join('');
}
