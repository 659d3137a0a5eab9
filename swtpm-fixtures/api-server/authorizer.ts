import { isObject, type Json, listAt, textAt, textsAt } from './json.ts';
import type { ObjectStore } from './object-store.ts';
import { nodeOfKubelet, type User } from './users.ts';

/** What somebody wants to do: to a resource, or at a path that is none. */
export type Action =
  | {
      readonly verb: string;
      readonly group: string;
      readonly resource: string;
      readonly subresource: string;
      readonly namespace: string;
      readonly name: string;
    }
  | { readonly verb: string; readonly path: string };

export interface Decision {
  readonly allowed: boolean;
  readonly reason: string;
}

export interface Authorizer {
  authorize(user: User, action: Action): Decision;
}

const rbac = 'rbac.authorization.k8s.io';

/** Node and RBAC, as most clusters have them: rules are objects, and a change of them counts at once. */
export function openAuthorizer(store: ObjectStore, isRbacOn: boolean): Authorizer {
  const rulesOfRole = (kind: string, name: string, namespace: string): readonly Json[] => {
    const [table, key] = kind === 'Role' ? ['roles', `${namespace}/${name}`] : ['clusterroles', name];
    return listAt(store.get(`${rbac}/${table}`, key)?.object, 'rules');
  };
  const allows = (binding: Json, user: User, action: Action, namespace: string): boolean =>
    listAt(binding, 'subjects').some((subject) => isSubject(subject, user, namespace)) &&
    rulesOfRole(
      textAt(binding, 'roleRef', 'kind') ?? '',
      textAt(binding, 'roleRef', 'name') ?? '',
      namespace,
    ).some((rule) => ruleAllows(rule, action));
  return {
    authorize(user, action) {
      if (!isRbacOn || user.groups.includes('system:masters')) return { allowed: true, reason: '' };
      const node = nodeOfKubelet(user);
      if (node !== null && nodeMay(node, action)) return { allowed: true, reason: '' };
      for (const [name, { object }] of store.list(`${rbac}/clusterrolebindings`)) {
        if (!allows(object, user, action, '')) continue;
        return { allowed: true, reason: `RBAC: allowed by ClusterRoleBinding "${name}"` };
      }
      if ('path' in action || action.namespace === '') return { allowed: false, reason: '' };
      for (const [name, { object }] of store.list(`${rbac}/rolebindings`, `${action.namespace}/`)) {
        if (!allows(object, user, action, action.namespace)) continue;
        return { allowed: true, reason: `RBAC: allowed by RoleBinding "${name}"` };
      }
      return { allowed: false, reason: '' };
    },
  };
}

/** How a refusal reads. */
export function refusalOf(user: User, action: Action): string {
  const who = `User "${user.name}"`;
  if ('path' in action) return `${who} cannot ${action.verb} path "${action.path}"`;
  const { verb, group, resource, subresource, namespace } = action;
  const what = subresource === '' ? resource : `${resource}/${subresource}`;
  const where = namespace === '' ? 'at the cluster scope' : `in the namespace "${namespace}"`;
  return `${who} cannot ${verb} resource "${what}" in API group "${group}" ${where}`;
}

function isSubject(subject: Json, user: User, namespaceOfBinding: string): boolean {
  const name = textAt(subject, 'name') ?? '';
  switch (textAt(subject, 'kind')) {
    case 'User':
      return name === user.name;
    case 'Group':
      return user.groups.includes(name);
    case 'ServiceAccount':
      return (
        user.name === `system:serviceaccount:${textAt(subject, 'namespace') ?? namespaceOfBinding}:${name}`
      );
    default:
      return false;
  }
}

function ruleAllows(rule: Json, action: Action): boolean {
  if (!isObject(rule) || !matches(textsAt(rule, 'verbs'), action.verb)) return false;
  if ('path' in action) {
    return textsAt(rule, 'nonResourceURLs').some(
      (pattern) =>
        pattern === '*' ||
        pattern === action.path ||
        (pattern.endsWith('*') && action.path.startsWith(pattern.slice(0, -1))),
    );
  }
  const { group, resource, subresource, name } = action;
  const names = textsAt(rule, 'resourceNames');
  return (
    matches(textsAt(rule, 'apiGroups'), group) &&
    textsAt(rule, 'resources').some((pattern) => resourceMatches(pattern, resource, subresource)) &&
    (names.length === 0 || (name !== '' && names.includes(name)))
  );
}

function resourceMatches(pattern: string, resource: string, subresource: string): boolean {
  if (pattern === '*') return true;
  const full = subresource === '' ? resource : `${resource}/${subresource}`;
  return pattern === full || (subresource !== '' && pattern === `*/${subresource}`);
}

function matches(patterns: readonly string[], value: string): boolean {
  return patterns.includes('*') || patterns.includes(value);
}

/** The rights that a kubelet has without a binding. It may not delete its own Node. */
function nodeMay(node: string, action: Action): boolean {
  if ('path' in action) return false;
  const { verb, group, resource, subresource, namespace, name } = action;
  const what = `${group}/${resource}${subresource && `/${subresource}`}`;
  const isRead = ['get', 'list', 'watch'].includes(verb);
  switch (what) {
    case '/nodes':
      if (verb === 'create') return true;
      return (isRead || verb === 'update' || verb === 'patch') && name === node;
    case '/nodes/status':
      return verb === 'update' || verb === 'patch';
    case '/services':
      return isRead;
    case '/pods':
      return isRead || verb === 'create' || verb === 'delete';
    case '/pods/status':
      return verb === 'update' || verb === 'patch';
    case '/events':
    case 'events.k8s.io/events':
      return verb === 'create' || verb === 'update' || verb === 'patch';
    case '/serviceaccounts/token':
      return verb === 'create';
    case 'authentication.k8s.io/tokenreviews':
    case 'authorization.k8s.io/subjectaccessreviews':
      return verb === 'create';
    case 'coordination.k8s.io/leases':
      return namespace === 'kube-node-lease' && ['get', 'create', 'update', 'patch', 'delete'].includes(verb);
    default:
      return false;
  }
}
