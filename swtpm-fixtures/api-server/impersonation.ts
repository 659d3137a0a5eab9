import type { Action, Authorizer } from './authorizer.ts';
import { refusalOf } from './authorizer.ts';
import { badRequest, forbidden } from './status.ts';
import type { User } from './users.ts';

type Headers = NodeJS.Dict<string[]>;

/** Who a request is made as: whoever may impersonate says so by headers. @throws ApiError */
export function impersonated(user: User, headers: Headers, authorizer: Authorizer): User {
  const [name] = headers['impersonate-user'] ?? [];
  const groups = headers['impersonate-group'] ?? [];
  if (name === undefined) {
    if (groups.length > 0) throw badRequest('requested groups without impersonating a user');
    return user;
  }
  const [, namespace, account] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(name) ?? [];
  const actions: readonly Action[] = [
    account === undefined
      ? impersonation('users', name)
      : impersonation('serviceaccounts', account, namespace),
    ...groups.map((group) => impersonation('groups', group)),
  ];
  for (const action of actions) {
    if (authorizer.authorize(user, action).allowed) continue;
    const resource = 'resource' in action ? action.resource : '';
    throw forbidden({ group: '', resource, name }, refusalOf(user, action));
  }
  const itsOwn =
    namespace === undefined || groups.length > 0
      ? groups
      : ['system:serviceaccounts', `system:serviceaccounts:${namespace}`];
  return { name, groups: [...new Set([...itsOwn, 'system:authenticated'])] };
}

function impersonation(resource: string, name: string, namespace = ''): Action {
  return { verb: 'impersonate', group: '', resource, subresource: '', namespace, name };
}
