import { type FieldSet, fieldsOf, pathsOf, shownPath, stepOf, treeOf } from './field-set.ts';
import { isEqual, isList, isObject, type Json, type KubeObject, textAt } from './json.ts';
import type { ListShapes } from './list-shapes.ts';
import { ApiError } from './status.ts';

/** Who writes, and by which door. */
export interface Manager {
  readonly name: string;
  readonly subresource: string;
  readonly apiVersion: string;
  /** RFC 3339. */
  readonly time: string;
}

interface Entry {
  readonly manager: string;
  readonly operation: 'Apply' | 'Update';
  readonly subresource: string;
  readonly apiVersion: string;
  readonly time: string;
  readonly paths: ReadonlySet<string>;
}

/** The object with `managedFields` as they are after an ordinary write: whoever changes a field owns it alone. */
export function afterUpdate(
  object: KubeObject,
  old: KubeObject | null,
  manager: Manager,
  shapes: ListShapes,
): KubeObject {
  const entries = old === null ? [] : entriesOf(old);
  const before = old === null ? new Map<string, Json>() : fieldsOf(old, shapes);
  const after = fieldsOf(object, shapes);
  const changed = changedPaths(before, after);
  const removed = [...before.keys()].filter((path) => !after.has(path));
  if (changed.length === 0 && removed.length === 0) return withEntries(object, entries);
  const own = entries.find((entry) => isOf(entry, manager, 'Update'));
  const rest = entries
    .filter((entry) => entry !== own)
    .map((entry) => ({ ...entry, paths: minus(entry.paths, [...changed, ...removed]) }));
  const paths = minus(new Set([...(own?.paths ?? []), ...changed]), removed);
  const mine: Entry = { ...entryOf(manager, 'Update'), paths };
  return withEntries(object, [...rest, mine]);
}

/**
 * Server-side apply of a configuration over an object; `old` is null where it is made.
 * @throws ApiError 409 naming each field that somebody else owns with another value
 */
export function apply(
  config: KubeObject,
  old: KubeObject | null,
  manager: Manager,
  force: boolean,
  shapes: ListShapes,
): KubeObject {
  const entries = old === null ? [] : entriesOf(old);
  const wanted = fieldsOf(config, shapes);
  const before = old === null ? new Map<string, Json>() : fieldsOf(old, shapes);
  const own = entries.find((entry) => isOf(entry, manager, 'Apply'));
  const others = entries.filter((entry) => entry !== own);
  const ownedByOthers = new Set(others.flatMap(({ paths }) => [...paths]));
  const merged = old === null ? config : withIdentity(mergeTyped(old, config, '', shapes), old);
  // What it applied before and does not any more goes, unless somebody else wants it too, or it is a map that has keys now.
  const isWanted = (path: string) =>
    [...wanted.keys()].some((its) => its === path || its.startsWith(`${path}\nf:`));
  const dropped = [...(own?.paths ?? [])].filter(
    (path) => !isWanted(path) && !ownedByOthers.has(path) && !isHeld(path, ownedByOthers),
  );
  const kept = dropped.reduce<Json>((value, path) => prune(value, path.split('\n'), '', shapes), merged);
  const vanished = [...wanted.keys()].filter((path) => dropped.some((its) => its.startsWith(`${path}\nf:`)));
  const pruned = vanished.reduce<Json>((value, path) => withNull(value, path.split('\n')), kept);
  if (!isKubeObject(pruned)) throw new Error('an applied object lost its metadata');
  const after = fieldsOf(pruned, shapes);
  const changed = changedPaths(before, after);
  const conflicts = others.flatMap((entry) =>
    changed.filter((path) => entry.paths.has(path)).map((path) => ({ entry, path })),
  );
  if (conflicts.length > 0 && !force) throw conflictOf(conflicts);
  const removed = [...before.keys()].filter((path) => !after.has(path));
  const rest = others.map((entry) => ({ ...entry, paths: minus(entry.paths, [...changed, ...removed]) }));
  const mine: Entry = { ...entryOf(manager, 'Apply'), paths: new Set(wanted.keys()) };
  const isSame =
    own !== undefined && isSameSet(own.paths, mine.paths) && changed.length + removed.length === 0;
  return withEntries(pruned, [...rest, isSame ? own : mine]);
}

function isKubeObject(value: Json): value is KubeObject {
  return isObject(value) && isObject(value.metadata) && typeof value.kind === 'string';
}

/** An item of a list stays while somebody else owns something in it. */
function isHeld(path: string, others: ReadonlySet<string>): boolean {
  if (!path.endsWith('\n.')) return false;
  const inside = path.slice(0, -1);
  return [...others].some((other) => other.startsWith(inside));
}

/** A configuration says nothing of these, whatever stands in it. */
function withIdentity(merged: Json, { metadata: old }: KubeObject): Json {
  if (!isKubeObject(merged)) throw new Error('an applied object lost its metadata');
  const { uid, resourceVersion, creationTimestamp } = old;
  return { ...merged, metadata: { ...merged.metadata, uid, resourceVersion, creationTimestamp } };
}

/** Configuration over object: maps member by member, lists by the keys of their items, all else as a whole. */
function mergeTyped<T extends Json>(
  old: Json | undefined,
  config: T,
  path: string,
  shapes: ListShapes,
): T | Json {
  const shape = shapes.get(path);
  if (isObject(config) && isObject(old) && shape !== 'atomic') {
    const result = new Map<string, Json>(Object.entries(old));
    for (const [name, member] of Object.entries(config)) {
      result.set(name, mergeTyped(result.get(name), member, path === '' ? name : `${path}.${name}`, shapes));
    }
    return Object.fromEntries(result);
  }
  if (!isList(config) || !isList(old) || shape === undefined || shape === 'atomic') return config;
  const { keys } = shape;
  const result = [...old];
  for (const item of config) {
    const step = stepOf(item, keys);
    const index = result.findIndex((other) => stepOf(other, keys) === step);
    if (index < 0) result.push(item);
    else result[index] = mergeTyped(result[index], item, path, shapes);
  }
  return result;
}

/** Without the leaf at a path, and without what is empty then. */
function prune(value: Json, steps: readonly string[], path: string, shapes: ListShapes): Json {
  const [step, ...rest] = steps;
  if (step === undefined) return value;
  if (isObject(value) && step.startsWith('f:')) {
    const name = step.slice(2);
    const member = value[name];
    if (member === undefined) return value;
    const inner = path === '' ? name : `${path}.${name}`;
    const pruned = rest.length === 0 ? null : prune(member, rest, inner, shapes);
    const isGone = pruned === null || (rest.length > 0 && isEmpty(pruned) && !isEmpty(member));
    const entries = Object.entries(value);
    return Object.fromEntries(
      isGone ? entries.filter(([other]) => other !== name) : new Map(entries).set(name, pruned),
    );
  }
  const shape = shapes.get(path);
  if (!isList(value) || shape === undefined || shape === 'atomic') return value;
  const index = value.findIndex((item) => stepOf(item, shape.keys) === step);
  const item = value[index];
  if (item === undefined) return value;
  if (rest.length === 0 || rest[0] === '.') return value.toSpliced(index, 1);
  return value.with(index, prune(item, rest, path, shapes));
}

/** A map that is applied empty, and all of whose keys vanish, is null: then its schema must allow that. */
function withNull(value: Json, [step = '', ...rest]: readonly string[]): Json {
  if (!isObject(value) || !step.startsWith('f:')) return value;
  const name = step.slice(2);
  const member = value[name];
  if (rest.length > 0) return member === undefined ? value : { ...value, [name]: withNull(member, rest) };
  return member === undefined ? { ...value, [name]: null } : value;
}

function isEmpty(value: Json): boolean {
  return isList(value) ? value.length === 0 : isObject(value) && Object.keys(value).length === 0;
}

function changedPaths(before: FieldSet, after: FieldSet): readonly string[] {
  return [...after].filter(([path, value]) => !isEqual(before.get(path), value)).map(([path]) => path);
}

function conflictOf(conflicts: readonly { readonly entry: Entry; readonly path: string }[]): ApiError {
  const causes = conflicts.map(({ entry, path }) => ({
    reason: 'FieldManagerConflict',
    message: `conflict with ${managerText(entry)}`,
    field: shownPath(path),
  }));
  const [first] = causes;
  if (causes.length === 1) {
    const message = `Apply failed with 1 conflict: ${first?.message}: ${first?.field}`;
    return new ApiError(409, 'Conflict', message, { causes });
  }
  const byManager = Map.groupBy(causes, ({ message }) => message);
  const lines = [...byManager].map(([message, its]) =>
    [`${message.replace(/^conflict /, 'conflicts ')}:`, ...its.map(({ field }) => `- ${field}`)].join('\n'),
  );
  const text = `Apply failed with ${causes.length} conflicts: ${lines.join('\n')}`;
  return new ApiError(409, 'Conflict', text, { causes });
}

function managerText({ manager, operation, subresource, apiVersion }: Entry): string {
  const where = subresource === '' ? '' : ` with subresource "${subresource}"`;
  return operation === 'Apply' ? `"${manager}"${where}` : `"${manager}"${where} using ${apiVersion}`;
}

function entriesOf({ metadata }: KubeObject): readonly Entry[] {
  return (metadata.managedFields ?? []).map((entry) => ({
    manager: textAt(entry, 'manager') ?? '',
    operation: textAt(entry, 'operation') === 'Apply' ? 'Apply' : 'Update',
    subresource: textAt(entry, 'subresource') ?? '',
    apiVersion: textAt(entry, 'apiVersion') ?? '',
    time: textAt(entry, 'time') ?? '',
    paths: new Set(pathsOf(entry.fieldsV1)),
  }));
}

function withEntries(object: KubeObject, entries: readonly Entry[]): KubeObject {
  const written = entries
    .filter(({ paths }) => paths.size > 0)
    .map(({ manager, operation, apiVersion, time, subresource, paths }) => ({
      ...{ manager, operation, apiVersion, time, fieldsType: 'FieldsV1', fieldsV1: treeOf(paths) },
      ...(subresource !== '' && { subresource }),
    }));
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata: { ...metadata, ...(written.length > 0 && { managedFields: written }) } };
}

function entryOf({ name, subresource, apiVersion, time }: Manager, operation: Entry['operation']) {
  return { manager: name, operation, subresource, apiVersion, time };
}

function isOf(entry: Entry, { name, subresource }: Manager, operation: Entry['operation']): boolean {
  return entry.manager === name && entry.subresource === subresource && entry.operation === operation;
}

function minus(paths: ReadonlySet<string>, gone: Iterable<string>): ReadonlySet<string> {
  const rest = new Set(paths);
  for (const path of gone) rest.delete(path);
  return rest;
}

function isSameSet(one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  return one.size === other.size && [...one].every((path) => other.has(path));
}
