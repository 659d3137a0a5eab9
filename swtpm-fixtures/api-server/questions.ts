import type { Question } from './api.ts';
import type { Action, Authorizer } from './authorizer.ts';
import { at, isList, isObject, type Json, type JsonObject, textAt, textsAt } from './json.ts';
import { apiAudience, type Reviewed } from './service-tokens.ts';
import { badRequest, invalid, invalidValue } from './status.ts';
import type { User } from './users.ts';

/** Who somebody is by a token: the text says why nobody, and is empty where nobody knows such tokens. */
export type Reviewer = (token: string, audiences: readonly string[]) => Reviewed | string;

/** What is asked of the API and never stored: who a token is, and who may do what. */
export function questions(review: Reviewer, authorizer: Authorizer): readonly Question[] {
  const authentication = { group: 'authentication.k8s.io', version: 'v1' };
  const authorization = { group: 'authorization.k8s.io', version: 'v1' };
  return [
    {
      ...authentication,
      ...{ plural: 'tokenreviews', kind: 'TokenReview' },
      answer(body) {
        const token = textAt(body, 'spec', 'token') ?? '';
        if (token === '') throw badRequest('token is required for TokenReview in authentication');
        const wanted = textsAt(body, 'spec', 'audiences');
        const found = review(token, wanted.length === 0 ? [apiAudience] : wanted);
        // Without a user there is an empty one, and what is wrong beside it.
        const status: JsonObject =
          typeof found === 'string'
            ? { user: {}, error: found === '' ? unknownToken : `[${unknownToken}, ${found}]` }
            : {
                authenticated: true,
                user: userInfo(found.user),
                audiences: wanted.length === 0 ? [apiAudience] : found.audiences,
              };
        return answered('TokenReview', authentication, body, status);
      },
    },
    {
      ...authorization,
      ...{ plural: 'subjectaccessreviews', kind: 'SubjectAccessReview' },
      answer(body) {
        const user = askedUser(body);
        const decision = authorizer.authorize(user, askedAction(body, 'SubjectAccessReview'));
        return answered('SubjectAccessReview', authorization, body, statusOf(decision));
      },
    },
    {
      ...authorization,
      ...{ plural: 'selfsubjectaccessreviews', kind: 'SelfSubjectAccessReview' },
      answer(body, user) {
        const decision = authorizer.authorize(user, askedAction(body, 'SelfSubjectAccessReview'));
        return answered('SelfSubjectAccessReview', authorization, body, statusOf(decision));
      },
    },
    {
      ...authentication,
      ...{ plural: 'selfsubjectreviews', kind: 'SelfSubjectReview' },
      answer: (body, user) =>
        answered('SelfSubjectReview', authentication, body, { userInfo: userInfo(user) }),
    },
  ];
}

export function userInfo({ name, uid, groups, extra }: User): JsonObject {
  return {
    username: name,
    ...(uid !== undefined && { uid }),
    groups,
    ...(extra !== undefined && { extra: { ...extra } }),
  };
}

function answered(
  kind: string,
  { group, version }: { readonly group: string; readonly version: string },
  body: JsonObject,
  status: JsonObject,
): JsonObject {
  return {
    kind,
    apiVersion: `${group}/${version}`,
    metadata: { creationTimestamp: null },
    ...(body.spec !== undefined && { spec: withoutUnsaid(body.spec) }),
    status,
  };
}

const unknownToken = 'invalid bearer token';

/** An empty text or list is no member of such objects. */
function withoutUnsaid(value: Json): Json {
  if (!isObject(value)) return value;
  const members = Object.entries(value).filter(
    ([, member]) => member !== null && member !== '' && !(isList(member) && member.length === 0),
  );
  return Object.fromEntries(members.map(([name, member]) => [name, withoutUnsaid(member)]));
}

function statusOf({ allowed, reason }: { readonly allowed: boolean; readonly reason: string }): JsonObject {
  return { allowed, ...(reason !== '' && { reason }) };
}

function askedUser(body: JsonObject): User {
  const name = textAt(body, 'spec', 'user') ?? '';
  const groups = textsAt(body, 'spec', 'groups');
  if (name === '' && groups.length === 0) {
    const what = { group: 'authorization.k8s.io', resource: 'SubjectAccessReview' };
    throw invalid(what, [invalidValue('spec.user', '', 'at least one of user or group must be specified')]);
  }
  return { name, groups };
}

function askedAction(body: JsonObject, kind: string): Action {
  const resource = at(body, 'spec', 'resourceAttributes');
  const path = at(body, 'spec', 'nonResourceAttributes');
  if (isObject(resource) === isObject(path)) {
    const why = 'exactly one of nonResourceAttributes or resourceAttributes must be specified';
    const field = isObject(resource) ? 'spec.nonResourceAttributes' : 'spec.resourceAttributes';
    throw invalid({ group: 'authorization.k8s.io', resource: kind }, [invalidValue(field, null, why)]);
  }
  const text = (from: Json | undefined, name: string) => textAt(from, name) ?? '';
  if (isObject(path)) return { verb: text(path, 'verb'), path: text(path, 'path') };
  const [verb, group, its, subresource, namespace, name] = [
    ...['verb', 'group', 'resource', 'subresource', 'namespace', 'name'],
  ].map((member) => text(resource, member));
  return {
    verb: verb ?? '',
    group: group ?? '',
    resource: its ?? '',
    subresource: subresource ?? '',
    namespace: namespace ?? '',
    name: name ?? '',
  };
}
