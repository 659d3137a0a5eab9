import { type AuthorityView, authorityView, finishRequest } from '../api/authority-api.ts';
import { readBody } from './body.ts';
import { HttpProblem } from './problem.ts';
import { actorOf, bodyBytes, nothing, ok, type Route, type RouteAnswer, route } from './route.ts';

/** The authority that signs the server's certificate, and how another one follows it, in three steps. */
export const authorityRoutes: readonly Route[] = [
  route('GET', '/v1/authority', 'reader', {
    operation: 'getAuthority',
    summary: 'The authorities of the server, and which nodes have not been told of the newer one',
    answer: authorityView,
    async handle({ authority }) {
      return ok(await authority.view());
    },
  }),
  route('POST', '/v1/authority/rotate', 'admin', {
    operation: 'rotateAuthority',
    summary: 'Make the next authority and announce it to agents under the one in force',
    body: nothing,
    status: 201,
    problems: [409],
    answer: authorityView,
    async handle({ authority }, { message, caller }) {
      await readBody(message, nothing, bodyBytes);
      return done(await authority.rotate(actorOf(caller)));
    },
  }),
  route('POST', '/v1/authority/finish', 'admin', {
    operation: 'finishAuthority',
    summary: 'Use a certificate of the announced authority; with force also while nodes were not told',
    body: finishRequest,
    status: 201,
    problems: [409],
    answer: authorityView,
    async handle({ authority }, { message, caller }) {
      const { force } = await readBody(message, finishRequest, bodyBytes);
      return done(await authority.finish(force, actorOf(caller)));
    },
  }),
  route('POST', '/v1/authority/retire', 'admin', {
    operation: 'retireAuthority',
    summary: 'Stop announcing the earlier authority: agents drop it',
    body: nothing,
    status: 201,
    problems: [409],
    answer: authorityView,
    async handle({ authority }, { message, caller }) {
      await readBody(message, nothing, bodyBytes);
      return done(await authority.retire(actorOf(caller)));
    },
  }),
];

function done(result: AuthorityView | string): RouteAnswer {
  if (typeof result === 'string') throw new HttpProblem(409, result);
  return { status: 201, body: result };
}
