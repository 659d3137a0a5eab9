import * as api from '../api/api.ts';
import { listOf } from '../api/list.ts';
import { readBody } from './body.ts';
import type { ApiToken } from './ports.ts';
import { HttpProblem } from './problem.ts';
import { actorOf, bodyBytes, ok, type Route, route } from './route.ts';

/** Who may call this API, each person and program under a name. */
export const tokenRoutes: readonly Route[] = [
  route('GET', '/v1/tokens', 'admin', {
    operation: 'listTokens',
    summary: 'Named tokens, without their secrets',
    answer: listOf(api.tokenView),
    async handle({ namedTokens }) {
      return ok({ items: (await namedTokens.list()).map(tokenSummary), next: null });
    },
  }),
  route('POST', '/v1/tokens', 'admin', {
    operation: 'createToken',
    summary: 'Make a token of this name and role; its text is in this answer and nowhere else',
    body: api.tokenRequest,
    status: 201,
    problems: [409],
    answer: api.tokenAnswer,
    async handle({ namedTokens }, { message, caller }) {
      const { name, role, ttlSeconds } = await readBody(message, api.tokenRequest, bodyBytes);
      const ttlMs = ttlSeconds === null ? null : ttlSeconds * 1000;
      const made = await namedTokens.create({ name, role, ttlMs, actor: actorOf(caller) });
      if (made === null)
        throw new HttpProblem(409, `a token named ${name} already exists: revoke it, or choose another name`);
      const expiresAt = made.expiresAt === null ? null : new Date(made.expiresAt).toISOString();
      return { status: 201, body: { name, role, token: made.text, expiresAt } };
    },
  }),
  route('DELETE', '/v1/tokens/{name}', 'admin', {
    operation: 'revokeToken',
    summary: 'Revoke a token: it is refused from now on',
    answer: api.tokenRevoked,
    async handle({ namedTokens }, { path, caller }) {
      const name = api.tokenName.safeParse(path.name).data;
      if (name === undefined || !(await namedTokens.revoke(name, actorOf(caller))))
        throw new HttpProblem(
          404,
          'there is no such token; to end a token of the two token files, replace the file',
        );
      return ok({ revoked: name });
    },
  }),
];

function tokenSummary({ name, role, createdBy, createdAt, expiresAt }: ApiToken) {
  return {
    name,
    role,
    createdBy,
    createdAt: new Date(createdAt).toISOString(),
    expiresAt: expiresAt === null ? null : new Date(expiresAt).toISOString(),
  };
}
