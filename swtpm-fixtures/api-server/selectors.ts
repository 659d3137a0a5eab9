import { at, type Json, type KubeObject, listAt, textAt, textsAt } from './json.ts';
import { badRequest } from './status.ts';

export type Matcher = (object: KubeObject) => boolean;

/** Of `labelSelector` and `fieldSelector`; null where both are empty. @throws ApiError 400 */
export function matcherOf(query: URLSearchParams): Matcher | null {
  const matchers = [
    ...parseLabelSelector(query.get('labelSelector') ?? ''),
    ...parseFieldSelector(query.get('fieldSelector') ?? ''),
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

/** `a=b,c!=d,e in (f,g),h notin (i),j,!k` */
function parseLabelSelector(text: string): readonly Matcher[] {
  return splitRequirements(text).map((requirement) => {
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
  const exists = /^(!?)\s*([^\s!=(),]+)$/.exec(text);
  if (exists?.[2] !== undefined) {
    const [, not, key] = exists;
    return (labels) => (labelOf(labels, key) !== undefined) === (not === '');
  }
  throw badRequest(`unable to parse requirement: found '${text}'`);
}

/** Any path to a text is taken; Kubernetes knows few paths of each kind, of which these are all. */
function parseFieldSelector(text: string): readonly Matcher[] {
  return splitRequirements(text).map((requirement) => {
    const [, path, how, wanted = ''] = /^([\w.]+)(==|=|!=)(.*)$/.exec(requirement) ?? [];
    if (path === undefined) throw badRequest(`invalid field selector: "${requirement}"`);
    if (!selectableFields.has(path)) throw badRequest(`field label not supported: ${path}`);
    const names = path.split('.');
    return (object) => {
      const found = at(object, ...names);
      const value = found === undefined || found === null ? '' : String(found);
      return (value === wanted) === (how !== '!=');
    };
  });
}

const selectableFields: ReadonlySet<string> = new Set([
  ...['metadata.name', 'metadata.namespace', 'spec.nodeName', 'spec.unschedulable', 'status.phase'],
  ...['spec.schedulerName', 'spec.serviceAccountName', 'spec.restartPolicy'],
  ...['involvedObject.kind', 'involvedObject.namespace', 'involvedObject.name', 'involvedObject.uid'],
  ...['regarding.kind', 'regarding.namespace', 'regarding.name', 'regarding.uid'],
  ...['reason', 'type', 'source', 'reportingComponent', 'reportingController'],
]);

/** At commas that stand in no brackets. */
function splitRequirements(text: string): readonly string[] {
  return text
    .split(/,(?![^(]*\))/)
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

function labelOf(labels: Labels, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}
