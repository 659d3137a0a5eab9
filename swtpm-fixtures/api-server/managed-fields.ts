import { pathsOf, shownPath, treeOf } from './field-set.ts';
import { type FieldType, fieldTypeOf } from './field-type.ts';
import { isEqual, isObject, type Json, type JsonObject, type KubeObject, textAt } from './json.ts';
import type { ResourceType } from './resource-type.ts';
import { ApiError } from './status.ts';
import { compare, merge, type Paths, pathsIn, withNamed, without } from './typed-value.ts';

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
  readonly paths: Paths;
}

/** Nobody owns these: they are the object's identity, or the server's own. */
const unowned: ReadonlySet<string> = new Set([
  ...['f:apiVersion', 'f:kind', 'f:metadata'],
  ...['name', 'namespace', 'uid', 'resourceVersion', 'generation', 'managedFields', 'creationTimestamp'].map(
    (name) => `f:metadata\nf:${name}`,
  ),
  ...['deletionTimestamp', 'deletionGracePeriodSeconds', 'selfLink'].map((name) => `f:metadata\nf:${name}`),
]);

/** The object with `managedFields` as they are after an ordinary write: whoever changes a field owns it alone. */
export function afterUpdate(
  object: KubeObject,
  old: KubeObject | null,
  manager: Manager,
  type: ResourceType,
): KubeObject {
  const entries = entriesBefore(object, old, manager);
  // Nobody is tracked in an object whose managers were reset, until somebody applies.
  if (entries.length === 0 && old !== null) return withEntries(object, []);
  return withEntries(object, entriesAfter(object, old, entries, manager, type));
}

/** Those that the write brings itself, if it may; else those of before. */
function entriesBefore(object: KubeObject, old: KubeObject | null, manager: Manager): readonly Entry[] {
  const said = object.metadata.managedFields;
  if (manager.subresource !== '' || said === undefined) return old === null ? [] : entriesOf(old);
  const isReset = said.length === 0 || (said.length === 1 && isEqual(said[0], {}));
  const entries = isReset ? [] : entriesOf(object);
  return isReset || entries.length > 0 || old === null ? entries : entriesOf(old);
}

function entriesAfter(
  object: KubeObject,
  old: KubeObject | null,
  entries: readonly Entry[],
  manager: Manager,
  type: ResourceType,
): readonly Entry[] {
  const { changed, removed } = compare(old ?? zeroOf(type), object, fieldTypeOf(type));
  const own = entries.find((entry) => isOf(entry, manager, 'Update'));
  const rest = entries.filter((entry) => entry !== own);
  const paths = new Set([...minus(own?.paths ?? [], removed), ...minus(changed, unowned)]);
  const isSame = own !== undefined && isSameSet(own.paths, paths);
  const mine = isSame && isUnchanged(changed) ? own : { ...entryOf(manager, 'Update'), paths };
  return [...rest.map((entry) => ({ ...entry, paths: minus(minus(entry.paths, changed), removed) })), mine];
}

/**
 * Server-side apply of a configuration over an object; `old` is null where it is made.
 * @throws ApiError 409 naming each field that somebody else owns with another value
 */
export function apply(
  config: JsonObject,
  old: KubeObject | null,
  manager: Manager,
  force: boolean,
  type: ResourceType,
): Applied {
  const fields = fieldTypeOf(type);
  const entries = old === null ? [] : entriesOf(old);
  // What was there before anybody applied belongs to those who made it.
  const first = { ...manager, name: 'before-first-apply', subresource: '' };
  const known = entries.length > 0 || old === null ? entries : entriesAfter(old, null, [], first, type);
  const own = known.find((entry) => isOf(entry, manager, 'Apply'));
  const others = known.filter((entry) => entry !== own);
  const claimed = pathsIn(config, fields);
  const merged = merge(old ?? undefined, config, fields) ?? config;
  const owned = [claimed, ...others.map(({ paths }) => paths)];
  const applied = own === undefined ? merged : withoutDropped(merged, own.paths, owned, fields);
  if (!isObject(applied)) throw new Error('an applied object lost all its members');
  const compared = compare(old ?? undefined, applied, fields);
  const [changed, removed] = [minus(compared.changed, unowned), minus(compared.removed, unowned)];
  const conflicts = others.flatMap((entry) =>
    [...changed].filter((path) => entry.paths.has(path)).map((path) => ({ entry, path })),
  );
  if (conflicts.length > 0 && !force) throw conflictOf(conflicts);
  const rest = others.map((entry) => ({ ...entry, paths: minus(minus(entry.paths, changed), removed) }));
  const mine: Entry = { ...entryOf(manager, 'Apply'), paths: minus(claimed, unowned) };
  const isSame = own !== undefined && isSameSet(own.paths, mine.paths) && changed.size + removed.size === 0;
  return { object: applied, managedFields: written([...rest, isSame ? own : mine]) };
}

/** Members that Kubernetes' own types have from the start: nobody owns them for being there. */
function zeroOf({ schema }: ResourceType): JsonObject | undefined {
  return schema === null ? { spec: {}, status: {} } : undefined;
}

export interface Applied {
  readonly object: JsonObject;
  readonly managedFields: readonly JsonObject[];
}

function isUnchanged(paths: Paths): boolean {
  return minus(paths, unowned).size === 0;
}

/**
 * What it applied before and does not any more goes, unless somebody owns it. What nobody owns, such as defaults, goes with
 * the member that holds it.
 */
function withoutDropped(merged: Json, before: Paths, owned: readonly Paths[], type: FieldType): Json {
  if (before.size === 0) return merged;
  const all = withNamed(pathsIn(merged, type), type);
  const last = withNamed(before, type);
  const kept = withNamed(new Set(owned.flatMap((paths) => [...paths])), type);
  const bare = withNamed(pathsIn(without(merged, last, type), type), type);
  const owning = without(merged, minus(minus(all, bare), kept), type);
  const stays = withNamed(pathsIn(owning, type), type);
  const gone = new Set([...minus(all, stays)].filter((path) => last.has(path)));
  return without(merged, gone, type);
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
  const { managedFields: _, ...metadata } = object.metadata;
  const managedFields = written(entries);
  return { ...object, metadata: { ...metadata, ...(managedFields.length > 0 && { managedFields }) } };
}

function written(entries: readonly Entry[]): readonly JsonObject[] {
  return entries
    .filter(({ paths }) => paths.size > 0)
    .map(({ manager, operation, apiVersion, time, subresource, paths }) => ({
      ...{ manager, operation, apiVersion, time, fieldsType: 'FieldsV1', fieldsV1: treeOf(paths) },
      ...(subresource !== '' && { subresource }),
    }));
}

function entryOf({ name, subresource, apiVersion, time }: Manager, operation: Entry['operation']) {
  return { manager: name, operation, subresource, apiVersion, time };
}

function isOf(entry: Entry, { name, subresource }: Manager, operation: Entry['operation']): boolean {
  return entry.manager === name && entry.subresource === subresource && entry.operation === operation;
}

function minus(paths: Iterable<string>, gone: Iterable<string>): Paths {
  const rest = new Set(paths);
  for (const path of gone) rest.delete(path);
  return rest;
}

function isSameSet(one: Paths, other: Paths): boolean {
  return one.size === other.size && [...one].every((path) => other.has(path));
}
