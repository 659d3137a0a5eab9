import { joined, stepOf } from './field-set.ts';
import type { FieldType } from './field-type.ts';
import { isEqual, isList, isObject, type Json } from './json.ts';

/** Paths that somebody owns: `f:spec`, then a line break, then `k:{"type":"Ready"}`. Some lead to others of the set. */
export type Paths = ReadonlySet<string>;

/** One level of a value: its parts by step, or null where it is owned as a whole. */
function partsOf(
  value: Json | undefined,
  type: FieldType,
): ReadonlyMap<string, readonly [Json, FieldType]> | null {
  if (isObject(value) && (type.kind === 'map' || type.kind === 'free')) {
    return new Map(
      Object.entries(value).map(([name, member]) => [`f:${name}`, [member, memberType(type, name)]]),
    );
  }
  if (isList(value) && type.kind === 'list') {
    return new Map(value.map((item) => [stepOf(item, type.keys), [item, type.item]]));
  }
  return null;
}

function memberType(type: FieldType, name: string): FieldType {
  if (type.kind !== 'map') return { kind: 'free' };
  return type.named(name) ?? type.others ?? { kind: 'free' };
}

/** Whether the schema has a name for this step. */
function isNamed(type: FieldType, step: string): boolean {
  return type.kind === 'map' && step.startsWith('f:') && type.named(step.slice(2)) !== null;
}

/** What a configuration claims: leaves, items of lists, members without a name in the schema, and what is empty. */
export function pathsIn(value: Json, type: FieldType): Paths {
  const found = new Set<string>();
  const visit = (at: Json, its: FieldType, path: string): void => {
    const parts = partsOf(at, its);
    if (parts === null) {
      // No list that could be merged is there to claim: an empty one claims nothing.
      if (at !== null || its.kind === 'leaf') found.add(path);
      return;
    }
    for (const [step, [part, partType]] of parts) {
      const inner = joined(path, step);
      visit(part, partType, inner);
      const isEmpty = part === null || (isObject(part) && Object.keys(part).length === 0);
      if (isEmpty || !isNamed(its, step)) found.add(inner);
    }
  };
  visit(value, type, '');
  found.delete('');
  return found;
}

/** With the named members on the way to each path: whoever owns what is in them removes them, too. */
export function withNamed(paths: Paths, type: FieldType): Paths {
  const all = new Set(paths);
  for (const path of paths) {
    let its = type;
    let prefix = '';
    const steps = path.split('\n');
    for (const step of steps.slice(0, -1)) {
      prefix = joined(prefix, step);
      if (isNamed(its, step)) all.add(prefix);
      its = step.startsWith('f:') ? memberType(its, step.slice(2)) : its.kind === 'list' ? its.item : its;
    }
  }
  return all;
}

/** Without what stands at these paths. What has nothing left is null. */
export function without(value: Json, gone: Paths, type: FieldType): Json {
  const ways = new Set<string>();
  for (const path of gone) {
    for (let end = path.lastIndexOf('\n'); end > 0; end = path.lastIndexOf('\n', end - 1)) {
      ways.add(path.slice(0, end));
    }
  }
  const visit = (at: Json, its: FieldType, path: string): Json => {
    const parts = partsOf(at, its);
    // As it was found: what is no map or list by its parts has none to lose, but an atomic one is given up.
    if (parts === null) return isObject(at) || isList(at) ? null : at;
    const kept = [...parts].filter(([step]) => !gone.has(joined(path, step)));
    if (kept.length === 0) return null;
    const inner = kept.map(([step, [part, partType]]) => {
      const where = joined(path, step);
      return [step, ways.has(where) ? visit(part, partType, where) : part] as const;
    });
    if (isList(at)) return inner.map(([, part]) => part);
    return Object.fromEntries(inner.map(([step, part]) => [step.slice(2), part]));
  };
  return gone.size === 0 ? value : visit(value, type, '');
}

export interface Comparison {
  readonly changed: Paths;
  readonly removed: Paths;
}

export function compare(old: Json | undefined, next: Json | undefined, type: FieldType): Comparison {
  const changed = new Set<string>();
  const removed = new Set<string>();
  const visit = (one: Json | undefined, other: Json | undefined, its: FieldType, path: string): void => {
    if (one === other) return;
    const [before, after] = [partsOf(one, its), partsOf(other, its)];
    const isWhole = (before?.size ?? 0) + (after?.size ?? 0) === 0;
    if (isWhole || (before === null && one != null) || (after === null && other != null)) {
      if (other === undefined) removed.add(path);
      else if (!isEqual(one, other)) changed.add(path);
      return;
    }
    for (const [step, [part, partType]] of before ?? []) {
      visit(part, after?.get(step)?.[0], partType, joined(path, step));
    }
    for (const [step, [part, partType]] of after ?? []) {
      if (before?.has(step) !== true) visit(undefined, part, partType, joined(path, step));
    }
    if (one === undefined) changed.add(path);
    else if (other === undefined) removed.add(path);
  };
  visit(old, next, type, '');
  changed.delete('');
  removed.delete('');
  return { changed, removed };
}

/** A configuration over what is there: maps by member, lists by the keys of their items, all else as a whole. */
export function merge(old: Json | undefined, config: Json | undefined, type: FieldType): Json | undefined {
  if (config === undefined) return old;
  const [before, after] = [partsOf(old, type), partsOf(config, type)];
  const isMerged = before !== null && before.size > 0 && (after !== null || config === null);
  if (!isMerged) {
    if (after === null || after.size === 0) return config;
  }
  const order =
    isList(old) || isList(config) ? orderOf([...(before?.keys() ?? [])], [...(after?.keys() ?? [])]) : null;
  const steps = order ?? [...new Set([...(before?.keys() ?? []), ...(after?.keys() ?? [])])];
  const merged = steps.flatMap((step) => {
    const [part, partType] = before?.get(step) ?? after?.get(step) ?? [];
    if (part === undefined || partType === undefined) return [];
    const made = merge(before?.get(step)?.[0], after?.get(step)?.[0], partType);
    return made === undefined ? [] : [[step, made] as const];
  });
  if (order !== null) return merged.map(([, part]) => part);
  return Object.fromEntries(merged.map(([step, part]) => [step.slice(2), part]));
}

/** The order of the configuration; what it does not name stays where it was among the others. */
function orderOf(old: readonly string[], config: readonly string[]): readonly string[] {
  const shared = config.filter((step) => old.includes(step));
  const result: string[] = [];
  const taken = new Set<string>();
  let left = 0;
  let right = 0;
  /** Index into `shared`. */
  let next = 0;
  while (left < old.length || right < config.length) {
    const [mine, theirs] = [old[left], config[right]];
    if (mine !== undefined && mine === theirs) {
      result.push(mine);
      taken.add(mine);
      left += 1;
      right += 1;
      next += 1;
      continue;
    }
    if (mine !== undefined && theirs !== undefined && config.includes(mine)) {
      const wanted = shared[next];
      if (wanted !== undefined && wanted !== mine) {
        left += 1;
        continue;
      }
    }
    if (mine !== undefined) {
      if (!config.includes(mine)) {
        result.push(mine);
        left += 1;
        continue;
      }
      if (taken.has(mine)) left += 1;
    }
    if (theirs !== undefined) {
      result.push(theirs);
      taken.add(theirs);
      right += 1;
      if (shared[next] === theirs) next += 1;
    }
  }
  return result;
}

/** The first thing in a configuration that its schema cannot hold; null: it fits. */
export function faultIn(value: Json, type: FieldType, path = ''): string | null {
  if (value === null) return null;
  const parts = partsOf(value, type);
  if (type.kind === 'leaf') {
    const isScalar = type.scalar === 'any' || typeof value === type.scalar;
    return isScalar ? null : `${path}: expected ${type.scalar}, got ${JSON.stringify(value)}`;
  }
  if (type.kind !== 'free' && parts === null)
    return `${path}: expected ${type.kind}, got ${JSON.stringify(value)}`;
  if (isList(value) && parts !== null && parts.size < value.length) {
    const steps = value.map((item) => stepOf(item, type.kind === 'list' ? type.keys : null));
    const second = steps.find((step, index) => steps.indexOf(step) !== index);
    return `${path}: duplicate entries for key ${second}`;
  }
  for (const [step, [part, partType]] of parts ?? []) {
    const inner = step.startsWith('f:') ? `${path}.${step.slice(2)}` : `${path}[${step.slice(2)}]`;
    if (type.kind === 'map' && type.named(step.slice(2)) === null && type.others === null) {
      return `${inner}: field not declared in schema`;
    }
    const fault = faultIn(part, partType, inner);
    if (fault !== null) return fault;
  }
  return null;
}
