import { at, type Json, type KubeObject, listAt, textAt, textsAt } from './json.ts';
import type { ResourceType } from './resource-type.ts';
import { badRequest } from './status.ts';

export type Matcher = (object: KubeObject) => boolean;

/** Of `labelSelector` and `fieldSelector`; null where both are empty. @throws ApiError 400 */
export function matcherOf(query: URLSearchParams, type: ResourceType): Matcher | null {
  const matchers = [
    ...parseLabelSelector(query.get('labelSelector') ?? ''),
    ...parseFieldSelector(query.get('fieldSelector') ?? '', type),
  ];
  return matchers.length === 0 ? null : (object) => matchers.every((matches) => matches(object));
}

/** A selector as objects hold it: `matchLabels` and `matchExpressions`. */
export function matchesSelector(selector: Json, labels: Labels): boolean {
  const wanted = at(selector, 'matchLabels');
  const pairs = Object.entries(typeof wanted === 'object' && wanted !== null ? wanted : {});
  if (pairs.some(([key, value]) => labelOf(labels, key) !== value)) return false;
  return listAt(selector, 'matchExpressions').every((expression) => {
    const value = labelOf(labels, textAt(expression, 'key') ?? '');
    const isListed = value !== undefined && textsAt(expression, 'values').includes(value);
    switch (textAt(expression, 'operator')) {
      case 'In':
        return isListed;
      case 'NotIn':
        return !isListed;
      case 'Exists':
        return value !== undefined;
      default:
        return value === undefined;
    }
  });
}

type Labels = Readonly<Record<string, string>>;

/** `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1` */
function parseLabelSelector(text: string): readonly Matcher[] {
  return splitRequirements(text).map((requirement) => {
    if (requirement === '') throw badRequest("found '', expected: identifier after ','");
    const ofLabels = parseRequirement(requirement);
    return (object) => ofLabels(object.metadata.labels ?? {});
  });
}

function parseRequirement(text: string): (labels: Labels) => boolean {
  const set = /^([^\s!=(),]+)\s+(in|notin)\s+\(([^()]*)\)$/.exec(text);
  if (set?.[1] !== undefined) {
    const [, key, how, list = ''] = set;
    const values = list.split(',').map((value) => value.trim());
    return (labels) => {
      const value = labelOf(labels, key);
      return (value !== undefined && values.includes(value)) === (how === 'in');
    };
  }
  const pair = /^([^\s!=(),]+)\s*(==|=|!=)\s*([^\s!=(),]*)$/.exec(text);
  if (pair?.[1] !== undefined) {
    const [, key, how, wanted] = pair;
    return (labels) => (labelOf(labels, key) === wanted) === (how !== '!=');
  }
  const limit = /^([^\s!=<>(),]+)\s*([<>])\s*(-?\d+)$/.exec(text);
  if (limit?.[1] !== undefined) {
    const [, key, how, wanted] = limit;
    return (labels) => {
      const value = labelOf(labels, key) ?? '';
      if (!/^-?\d+$/.test(value)) return false;
      return how === '>' ? Number(value) > Number(wanted) : Number(value) < Number(wanted);
    };
  }
  const exists = /^(!?)\s*([^\s!=(),]+)$/.exec(text);
  if (exists?.[2] !== undefined) {
    const [, not, key] = exists;
    return (labels) => (labelOf(labels, key) !== undefined) === (not === '');
  }
  throw badRequest(`unable to parse requirement: found '${text}'`);
}

function parseFieldSelector(text: string, { group, plural }: ResourceType): readonly Matcher[] {
  const known = [...fieldsOfAll, ...(fieldsOf[`${group}/${plural}`] ?? [])];
  return splitRequirements(text).map((requirement) => {
    const [, path, how, wanted = ''] = /^([\w.]+)(==|=|!=)(.*)$/.exec(requirement) ?? [];
    if (path === undefined) throw badRequest(`invalid selector: '${requirement}'`);
    if (!known.includes(path)) throw badRequest(`field label not supported: ${path}`);
    const names = path.split('.');
    return (object) => {
      const found = at(object, ...names);
      // A member that is not set is false.
      const unset = path === 'spec.unschedulable' ? 'false' : '';
      const value = found === undefined || found === null ? unset : String(found);
      return (value === wanted) === (how !== '!=');
    };
  });
}

const fieldsOfAll: readonly string[] = ['metadata.name', 'metadata.namespace'];

const eventFields = ['kind', 'namespace', 'name', 'uid', 'apiVersion', 'resourceVersion', 'fieldPath'];
const fieldsOf: Readonly<Record<string, readonly string[]>> = {
  '/nodes': ['spec.unschedulable'],
  '/namespaces': ['status.phase'],
  '/pods': [
    ...['spec.nodeName', 'spec.restartPolicy', 'spec.schedulerName', 'spec.serviceAccountName'],
    ...['spec.hostNetwork', 'status.phase', 'status.podIP', 'status.nominatedNodeName'],
  ],
  '/events': [
    ...eventFields.map((name) => `involvedObject.${name}`),
    ...['reason', 'reportingComponent', 'type'],
  ],
  'events.k8s.io/events': [
    ...eventFields.map((name) => `regarding.${name}`),
    ...['reason', 'reportingController', 'type'],
  ],
  'batch/jobs': ['status.successful'],
};

/** At commas that stand in no brackets. */
function splitRequirements(text: string): readonly string[] {
  return text.trim() === '' ? [] : text.split(/,(?![^(]*\))/).map((part) => part.trim());
}

function labelOf(labels: Labels, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}
