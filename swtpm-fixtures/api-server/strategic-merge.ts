import { isEqual, isList, isObject, type Json, type JsonObject } from './json.ts';
import type { ListShapes } from './list-shapes.ts';
import { badRequest } from './status.ts';

/** A strategic merge patch: lists whose shape says so are merged by the key of their items. @throws ApiError 400 */
export function applyStrategicMerge(
  target: Json | undefined,
  patch: JsonObject,
  lists: ListShapes,
): JsonObject {
  return mergeObjects(isObject(target) ? target : {}, patch, '', lists);
}

function mergeObjects(target: JsonObject, patch: JsonObject, path: string, lists: ListShapes): JsonObject {
  if (patch.$patch === 'delete') return {};
  if (patch.$patch === 'replace') return withoutDirectives(patch);
  const result = new Map<string, Json>(Object.entries(target));
  for (const [name, value] of Object.entries(patch)) {
    if (name === '$patch' || name === '$retainKeys' || name.startsWith('$setElementOrder/')) continue;
    if (name.startsWith('$deleteFromPrimitiveList/')) {
      const member = name.slice('$deleteFromPrimitiveList/'.length);
      const list = result.get(member);
      if (isList(list) && isList(value))
        result.set(
          member,
          list.filter((item) => !has(value, item)),
        );
      continue;
    }
    const inner = path === '' ? name : `${path}.${name}`;
    if (value === null) result.delete(name);
    else result.set(name, mergeValues(result.get(name), value, inner, lists));
  }
  const kept = patch.$retainKeys;
  const entries = [...result].filter(([name]) => !isList(kept) || has(kept, name));
  return Object.fromEntries(entries);
}

function mergeValues(target: Json | undefined, patch: Json, path: string, lists: ListShapes): Json {
  if (isObject(patch)) return mergeObjects(isObject(target) ? target : {}, patch, path, lists);
  const shape = lists.get(path);
  if (!isList(patch) || shape === undefined || shape === 'atomic' || !shape.strategic) return patch;
  const before = isList(target) ? target : [];
  if (shape.keys === null) return [...before, ...patch.filter((item) => !has(before, item))];
  const [key = ''] = shape.keys;
  if (patch.some((item) => isObject(item) && item.$patch === 'replace')) {
    return patch.filter((item) => !(isObject(item) && item.$patch === 'replace'));
  }
  let result = [...before];
  for (const item of patch) {
    if (!isObject(item) || item[key] === undefined) {
      throw badRequest(`map: ${JSON.stringify(item)} does not contain declared merge key: ${key}`);
    }
    const index = result.findIndex((other) => isObject(other) && isEqual(other[key], item[key]));
    if (item.$patch === 'delete') result = result.filter((_, position) => position !== index);
    else if (index < 0) result.push(mergeObjects({}, item, path, lists));
    else result[index] = mergeValues(result[index], item, path, lists);
  }
  return result;
}

function has(list: readonly Json[], wanted: Json): boolean {
  return list.some((item) => isEqual(item, wanted));
}

function withoutDirectives(patch: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(patch).filter(([name]) => !name.startsWith('$')));
}
