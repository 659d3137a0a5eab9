import { isEqual, isList, isObject, type Json, type JsonObject } from './json.ts';
import type { ListShapes } from './list-shapes.ts';
import { badRequest, reasonless } from './status.ts';

/**
 * A strategic merge patch: lists whose shape says so are merged by the key of their items.
 * @throws ApiError 400; 500 for some that are no patches, as the real one answers them
 */
export function applyStrategicMerge(
  target: Json | undefined,
  patch: JsonObject,
  lists: ListShapes,
): JsonObject {
  return mergeObjects(isObject(target) ? target : {}, patch, '', lists);
}

const orderPrefix = '$setElementOrder';
const deletionPrefix = '$deleteFromPrimitiveList/';

function mergeObjects(target: JsonObject, patch: JsonObject, path: string, lists: ListShapes): JsonObject {
  if (patch.$patch === 'delete') return {};
  if (patch.$patch === 'replace') return withoutDirectives(patch);
  const kept = patch.$retainKeys;
  if (isList(kept) && membersOf(patch).some((name) => !has(kept, name))) {
    throw badRequest('invalid patch format of retainKeys');
  }
  const result = new Map<string, Json>(Object.entries(target));
  for (const [name, value] of Object.entries(patch)) {
    if (name.startsWith(orderPrefix) && !isList(value)) {
      throw reasonless(`expected a []interface {}, but received a ${typeof value}`);
    }
    if (name.startsWith(deletionPrefix)) {
      const member = name.slice(deletionPrefix.length);
      const list = result.get(member);
      if (isList(list) && isList(value))
        result.set(
          member,
          list.filter((item) => !has(value, item)),
        );
    }
  }
  for (const name of membersOf(patch)) {
    const value = patch[name] ?? null;
    if (value === null) result.delete(name);
    else
      result.set(name, mergeValues(result.get(name), value, path === '' ? name : `${path}.${name}`, lists));
  }
  for (const [name, order] of Object.entries(patch)) {
    const member = name.slice(orderPrefix.length + 1);
    const list = result.get(member);
    if (!name.startsWith(`${orderPrefix}/`) || !isList(order) || !isList(list)) continue;
    const shape = lists.get(path === '' ? member : `${path}.${member}`);
    const key = shape === undefined || shape === 'atomic' ? null : (shape.keys?.[0] ?? null);
    const before = target[member];
    result.set(member, ordered(list, order, isList(before) ? before : [], key));
  }
  return Object.fromEntries([...result].filter(([name]) => !isList(kept) || has(kept, name)));
}

/** Those of a patch that are no directives. */
function membersOf(patch: JsonObject): readonly string[] {
  return Object.keys(patch).filter(
    (name) =>
      name !== '$patch' &&
      name !== '$retainKeys' &&
      !name.startsWith(orderPrefix) &&
      !name.startsWith(deletionPrefix),
  );
}

function mergeValues(target: Json | undefined, patch: Json, path: string, lists: ListShapes): Json {
  if (isObject(patch)) return mergeObjects(isObject(target) ? target : {}, patch, path, lists);
  const shape = lists.get(path);
  if (!isList(patch) || shape === undefined || shape === 'atomic' || !shape.strategic) return patch;
  const before = isList(target) ? target : [];
  if (shape.keys === null) {
    return ordered([...before, ...patch.filter((item) => !has(before, item))], patch, before, null);
  }
  const [key = ''] = shape.keys;
  if (patch.some((item) => isObject(item) && item.$patch === 'replace')) {
    return patch.filter((item) => !(isObject(item) && item.$patch === 'replace'));
  }
  let result = [...before];
  for (const item of patch) {
    if (!isObject(item) || item[key] === undefined) {
      throw reasonless(`map: ${JSON.stringify(item)} does not contain declared merge key: ${key}`);
    }
    const index = result.findIndex((other) => isObject(other) && isEqual(other[key], item[key]));
    if (item.$patch === 'delete') result = result.filter((_, position) => position !== index);
    else if (index < 0) result.push(mergeObjects({}, item, path, lists));
    else result[index] = mergeValues(result[index], item, path, lists);
  }
  return ordered(result, patch, before, key);
}

/** What the patch names stands in its order, the rest in the order of before, and both are interleaved by that. */
function ordered(
  list: readonly Json[],
  wanted: readonly Json[],
  before: readonly Json[],
  key: string | null,
): readonly Json[] {
  const idOf = (item: Json): Json => (key === null || !isObject(item) ? item : (item[key] ?? null));
  const placeIn = (items: readonly Json[], item: Json) =>
    items.findIndex((other) => isEqual(idOf(other), idOf(item)));
  const sorted = (items: readonly Json[], by: readonly Json[]) =>
    items.toSorted((one, other) => placeIn(by, one) - placeIn(by, other));
  const named = list.filter((item) => placeIn(wanted, item) >= 0);
  const right = sorted(named, wanted);
  const left = sorted(
    list.filter((item) => !named.includes(item)),
    before,
  );
  const result: Json[] = [];
  let next = 0;
  for (const item of right) {
    const place = placeIn(before, item);
    for (let other = left[next]; other !== undefined; other = left[next]) {
      const its = placeIn(before, other);
      if (place < 0 || its < 0 || its >= place) break;
      result.push(other);
      next += 1;
    }
    result.push(item);
  }
  return [...result, ...left.slice(next)];
}

function has(list: readonly Json[], wanted: Json): boolean {
  return list.some((item) => isEqual(item, wanted));
}

function withoutDirectives(patch: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(patch).filter(([name]) => !name.startsWith('$')));
}
