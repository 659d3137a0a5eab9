import { isObject, type Json, type KubeObject, listAt, textAt, textsAt } from './json.ts';
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
      /** The one node whose pods are listed or watched. Absent: of all. */
      readonly onlyNode?: string;
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
  /** How it reads that the binding allows it; null where it does not. */
  const allowedBy = (binding: Json, user: User, action: Action, namespace: string): string | null => {
    const subject = listAt(binding, 'subjects').find((other) => isSubject(other, user, namespace));
    if (subject === undefined) return null;
    const [kind = '', name = ''] = ['kind', 'name'].map((member) => textAt(binding, 'roleRef', member));
    if (!rulesOfRole(kind, name, namespace).some((rule) => ruleAllows(rule, action))) return null;
    const key = textAt(binding, 'metadata', 'name') ?? '';
    const its = namespace === '' ? `ClusterRoleBinding "${key}"` : `RoleBinding "${key}/${namespace}"`;
    return `RBAC: allowed by ${its} of ${kind} "${name}" to ${shownSubject(subject, namespace)}`;
  };
  return {
    authorize(user, action) {
      if (!isRbacOn || user.groups.includes('system:masters')) return { allowed: true, reason: '' };
      const node = nodeOfKubelet(user);
      const ofNode = node === null ? '' : nodeMay(store, node, action);
      if (ofNode === true) return { allowed: true, reason: '' };
      for (const [, { object }] of store.list(`${rbac}/clusterrolebindings`)) {
        const reason = allowedBy(object, user, action, '');
        if (reason !== null) return { allowed: true, reason };
      }
      if ('path' in action || action.namespace === '') return { allowed: false, reason: ofNode };
      for (const [, { object }] of store.list(`${rbac}/rolebindings`, `${action.namespace}/`)) {
        const reason = allowedBy(object, user, action, action.namespace);
        if (reason !== null) return { allowed: true, reason };
      }
      return { allowed: false, reason: ofNode };
    },
  };
}

/** How a refusal reads. @param reason empty: that nothing allows it */
export function refusalOf(user: User, action: Action, reason = ''): string {
  const who = `User "${user.name}"`;
  if ('path' in action) return `${who} cannot ${action.verb} path "${action.path}"`;
  const { verb, group, resource, subresource, namespace } = action;
  const what = subresource === '' ? resource : `${resource}/${subresource}`;
  const where = namespace === '' ? 'at the cluster scope' : `in the namespace "${namespace}"`;
  const why = reason === '' ? '' : `: ${reason}`;
  return `${who} cannot ${verb} resource "${what}" in API group "${group}" ${where}${why}`;
}

function shownSubject(subject: Json, namespace: string): string {
  const [kind = '', name = ''] = ['kind', 'name'].map((member) => textAt(subject, member));
  const its = kind === 'ServiceAccount' ? `${name}/${textAt(subject, 'namespace') ?? namespace}` : name;
  return `${kind} "${its}"`;
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

/**
 * The rights that a kubelet has without a binding: true, or why not, where that is told. It may not delete its own
 * Node. What a pod refers to is not looked at, but for its account.
 */
function nodeMay(store: ObjectStore, node: string, action: Action): true | string {
  if ('path' in action) return '';
  const { verb, group, resource, subresource, namespace, name, onlyNode = '' } = action;
  const what = `${group}/${resource}${subresource && `/${subresource}`}`;
  const isRead = ['get', 'list', 'watch'].includes(verb);
  const isChange = verb === 'update' || verb === 'patch';
  const unrelated = `no relationship found between node '${node}' and this object`;
  const hasPod = (isMeant: (pod: KubeObject) => boolean) =>
    store
      .list('/pods', `${namespace}/`)
      .some(([, { object }]) => textAt(object, 'spec', 'nodeName') === node && isMeant(object));
  switch (what) {
    case '/nodes': {
      if (!isRead) return verb === 'create' || isChange || '';
      const whose = name === '' ? 'all nodes' : `'${name}'`;
      return name === node || `node '${node}' cannot read ${whose}, only its own Node object`;
    }
    case '/nodes/status':
    case '/pods/status':
      return isChange || '';
    case '/services':
      return isRead || '';
    case '/pods':
      if (verb === 'get') return hasPod(({ metadata }) => metadata.name === name) || unrelated;
      if (isRead) {
        return onlyNode === node || 'can only list/watch pods with spec.nodeName field selector';
      }
      return verb === 'create' || verb === 'delete' || '';
    case '/configmaps':
    case '/secrets':
      return isRead ? unrelated : '';
    case '/events':
    case 'events.k8s.io/events':
      return verb === 'create' || isChange || '';
    case '/serviceaccounts/token':
      if (verb !== 'create') return 'can only create tokens for individual service accounts';
      return hasPod((pod) => textAt(pod, 'spec', 'serviceAccountName') === name) || unrelated;
    case 'authentication.k8s.io/tokenreviews':
    case 'authorization.k8s.io/subjectaccessreviews':
      return verb === 'create' || '';
    case 'coordination.k8s.io/leases':
      if (!['get', 'create', 'update', 'patch', 'delete'].includes(verb)) {
        return 'can only get, create, update, patch, or delete a node lease';
      }
      if (namespace !== 'kube-node-lease') {
        return 'can only access leases in the "kube-node-lease" system namespace';
      }
      // The name of a new one is not known yet: admission looks at it.
      if (verb === 'create' || name === node) return true;
      return 'can only access node lease with the same name as the requesting node';
    default:
      return '';
  }
}
