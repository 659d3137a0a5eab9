import type { IncomingHttpHeaders } from 'node:http';
import { type Authorizer, refusalOf } from './authorizer.ts';
import { forbidden, PlainError } from './status.ts';
import { serviceAccount, type User } from './users.ts';

const extraPrefix = 'impersonate-extra-';

/** Who the request wants to be: the user, unless headers name somebody that the user may act for. @throws ApiError, PlainError */
export function impersonated(user: User, headers: IncomingHttpHeaders, authorizer: Authorizer): User {
  const name = textOf(headers['impersonate-user']);
  const groups = listOf(headers['impersonate-group']);
  const uid = textOf(headers['impersonate-uid']);
  const extra = Object.entries(headers)
    .filter(([header]) => header.startsWith(extraPrefix))
    .map(([header, value]) => [decodeURIComponent(header.slice(extraPrefix.length)), listOf(value)] as const);
  if (name === '') {
    if (groups.length === 0 && uid === '' && extra.length === 0) return user;
    throw new PlainError(500, 'Internal Server Error: requested a group, uid or extra without a user');
  }
  const check = (group: string, resource: string, wanted: string, namespace = '', subresource = ''): void => {
    const action = { verb: 'impersonate', group, resource, subresource, namespace, name: wanted };
    if (!authorizer.authorize(user, action).allowed) throw forbidden(action, refusalOf(user, action));
  };
  const [, namespace, account] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(name) ?? [];
  if (namespace !== undefined && account !== undefined) check('', 'serviceaccounts', account, namespace);
  else check('', 'users', name);
  for (const group of groups) check('', 'groups', group);
  if (uid !== '') check('authentication.k8s.io', 'uids', uid);
  for (const [key, values] of extra) {
    for (const value of values) check('authentication.k8s.io', 'userextras', value, '', key);
  }
  // A service account brings its groups, unless others are named; everybody with a name is authenticated.
  const own =
    namespace !== undefined && account !== undefined && groups.length === 0
      ? serviceAccount(namespace, account).groups
      : groups;
  return {
    name,
    groups: [...new Set([...own, 'system:authenticated'])],
    ...(uid !== '' && { uid }),
    ...(extra.length > 0 && { extra: Object.fromEntries(extra) }),
  };
}

/** Node joins what was sent several times. */
function listOf(header: string | readonly string[] | undefined): readonly string[] {
  const values = typeof header === 'string' ? header.split(',') : (header ?? []);
  return values.map((value) => value.trim()).filter((value) => value !== '');
}

function textOf(header: string | readonly string[] | undefined): string {
  return typeof header === 'string' ? header : '';
}
