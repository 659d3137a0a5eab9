import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { isList, isObject, type Json, type JsonObject } from './json.ts';
import { badRequest } from './status.ts';

/**
 * Members of Kubernetes' own types, from the models of @kubernetes/client-node (Apache-2.0), which are of 1.36:
 * `[V1Taint]` is a list, `{string}` a map.
 */
const fields = z
  .record(z.string(), z.record(z.string(), z.string()))
  .parse(JSON.parse(readFileSync(join(import.meta.dirname, 'builtin-fields.json'), 'utf8')));

/** The types whose members are known, by group and kind. */
export const builtinRoots: ReadonlyMap<string, string> = new Map([
  ...['Node', 'Namespace', 'ServiceAccount', 'Pod', 'ConfigMap', 'Service', 'ResourceQuota'].map(
    (kind) => [`/${kind}`, `V1${kind}`] as const,
  ),
  ['/Event', 'CoreV1Event'],
  ['events.k8s.io/Event', 'EventsV1Event'],
  ['apps/DaemonSet', 'V1DaemonSet'],
  ['apps/StatefulSet', 'V1StatefulSet'],
  ['batch/Job', 'V1Job'],
  ['policy/PodDisruptionBudget', 'V1PodDisruptionBudget'],
  ['networking.k8s.io/NetworkPolicy', 'V1NetworkPolicy'],
  ['coordination.k8s.io/Lease', 'V1Lease'],
  ...['Role', 'RoleBinding', 'ClusterRole', 'ClusterRoleBinding'].map(
    (kind) => [`rbac.authorization.k8s.io/${kind}`, `V1${kind}`] as const,
  ),
  ...['ValidatingAdmissionPolicy', 'ValidatingAdmissionPolicyBinding'].map(
    (kind) => [`admissionregistration.k8s.io/${kind}`, `V1${kind}`] as const,
  ),
  ['apiextensions.k8s.io/CustomResourceDefinition', 'V1CustomResourceDefinition'],
]);

/** The members of one of those types; null for a type that has none. */
export function membersOfBuiltin(type: string): Readonly<Record<string, string>> | null {
  return fields[type] ?? null;
}

/**
 * Without members that no such type has; the metadata is left to whoever decodes it.
 * @throws ApiError 400 for a member of another type
 */
export function pruneBuiltin(
  object: JsonObject,
  group: string,
  kind: string,
): { readonly object: JsonObject; readonly unknown: readonly string[] } {
  const root = builtinRoots.get(`${group}/${kind}`);
  if (root === undefined) return { object, unknown: [] };
  const unknown: string[] = [];
  const pruned = prune(object, root, '', unknown);
  return { object: isObject(pruned) ? pruned : object, unknown };
}

function prune(value: Json, type: string, path: string, unknown: string[]): Json {
  if (value === null || type === 'any' || type === 'V1ObjectMeta') return value;
  const inner = type.slice(1, -1);
  if (type.startsWith('[')) {
    if (!isList(value)) throw wrongType(value, type, path);
    return value.map((item, index) => prune(item, inner, `${path}[${index}]`, unknown));
  }
  if (type.startsWith('{')) {
    if (!isObject(value)) throw wrongType(value, type, path);
    // A map of texts has no null.
    const entries = Object.entries(value).map(
      ([name, item]) => [name, item === null && inner === 'string' ? '' : item] as const,
    );
    return Object.fromEntries(
      entries.map(([name, item]) => [name, prune(item, inner, `${path}.${name}`, unknown)]),
    );
  }
  const its = fields[type];
  if (its === undefined) {
    if (type === 'V1MicroTime') return microTime(value, path);
    if (!fits(value, type, path)) throw wrongType(value, type, path);
    return value;
  }
  if (!isObject(value)) throw wrongType(value, type, path);
  const kept: [string, Json][] = [];
  for (const [name, member] of Object.entries(value)) {
    const at = path === '' ? name : `${path}.${name}`;
    const memberType = Object.hasOwn(its, name) ? its[name] : undefined;
    if (memberType === undefined) unknown.push(at);
    // The real one writes no empty map.
    else if (memberType.startsWith('{') && isObject(member) && Object.keys(member).length === 0) continue;
    else kept.push([name, prune(member, memberType, at, unknown)]);
  }
  return Object.fromEntries(kept);
}

function fits(value: Json, type: string, path: string): boolean {
  switch (type) {
    case 'string':
      // A quantity may be written as a number.
      return (
        typeof value === 'string' ||
        (typeof value === 'number' && /(capacity|allocatable|limits|requests)\./.test(path))
      );
    case 'number':
      // Only schemas know others than whole ones.
      return Number.isInteger(value) || (typeof value === 'number' && /(imum|multipleOf)$/i.test(path));
    case 'boolean':
      return typeof value === 'boolean';
    case 'Date':
      return typeof value === 'string' && !Number.isNaN(Date.parse(value));
    case 'IntOrString':
      return typeof value === 'string' || Number.isInteger(value);
    default:
      // Whatever the models do not spell out.
      return true;
  }
}

/** In UTC, with six digits after the second, neither more nor fewer. */
function microTime(value: Json, path: string): Json {
  const [, seconds, micros, zone] =
    /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{6})(Z|[+-]\d\d:\d\d)$/.exec(String(value)) ?? [];
  const at = Date.parse(`${seconds}${zone}`);
  if (Number.isNaN(at)) throw badRequest(`parsing time ${JSON.stringify(value)} of ${path}: no MicroTime`);
  return `${new Date(at).toISOString().slice(0, 19)}${micros}Z`;
}

function wrongType(value: Json, type: string, path: string) {
  const found = isList(value) ? 'array' : typeof value;
  return badRequest(`json: cannot unmarshal ${found} into the field ${path} of type ${type}`);
}
