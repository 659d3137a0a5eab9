import { z } from 'zod';
import type { JoinToken } from '../enrolment/ports.ts';
import * as api from '../protocol/api.ts';
import { nodeName } from '../protocol/messages.ts';
import { nodeFilter } from '../protocol/node-filter.ts';
import { readBody } from './body.ts';
import { chooseNodes } from './choose-nodes.ts';
import { findNode } from './find-node.ts';
import { listNodes } from './node-list.ts';
import { historyEntryView, nodeView, unsupportedView } from './node-view.ts';
import { openApi } from './openapi.ts';
import type { ApiPorts } from './ports.ts';
import { liveness, readiness } from './probes.ts';
import { HttpProblem } from './problem.ts';
import { actorOf, bodyBytes, ok, type Route, route, routeWithQuery } from './route.ts';
import { auditRoutes } from './routes-audit.ts';
import { authorityRoutes } from './routes-authority.ts';
import { enrolmentRoutes } from './routes-enrolment.ts';
import { policyRoutes } from './routes-policy.ts';
import { referenceRoutes } from './routes-reference.ts';
import { serverRoutes } from './routes-server.ts';
import { tokenRoutes } from './routes-token.ts';

const importBytes = 1024 * 1024;

const nodesPage = nodeFilter.extend({
  limit: z.coerce.number().int().min(1).max(1000).default(500),
  after: nodeName.optional(),
});
const bundleQuery = z.strictObject({
  evidence: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
});
const historyPage = z.strictObject({
  limit: z.coerce.number().int().min(1).max(500).default(50),
  before: z.coerce.number().int().min(0).optional(),
});

/** Made once: whoever asks needs no token, and making it takes milliseconds. */
let description: unknown;

/** The table that the listener, `/openapi.json` and the tests walk. */
export const routes: readonly Route[] = [
  routeWithQuery('GET', '/v1/nodes', 'reader', {
    summary:
      'Enrolled nodes with their states; parameters state, reason, group (words with commas), selector (labels), limit, after (the `next` of the page before)',
    query: nodesPage,
    answer: api.listOf(api.nodeView),
    async handle(ports, { query: { limit, after, ...filter } }) {
      const found = chooseNodes(await listNodes(ports), filter, ports, { after, most: limit + 1 });
      const items = found.slice(0, limit).map((view) => advised(view, ports));
      return ok({ items, next: found.length > limit ? (items.at(-1)?.name ?? null) : null });
    },
  }),
  route('GET', '/v1/nodes/{name}', 'reader', {
    summary: 'One node',
    answer: api.nodeView,
    async handle(ports, { path }) {
      const { store, unsupported, now } = ports;
      const withoutTpm = unsupported().find(({ name }) => name === path.name);
      if (withoutTpm !== undefined && (await store.node(withoutTpm.name)) === null)
        return ok(advised(unsupportedView(withoutTpm), ports));
      const enrolled = await findNode(store, path.name);
      return ok(advised(nodeView(await store.status(enrolled.name), enrolled, now()), ports));
    },
  }),
  routeWithQuery('GET', '/v1/nodes/{name}/history', 'reader', {
    summary: 'Verdicts of one node, newest first; parameters limit, before (the `next` of the page before)',
    query: historyPage,
    answer: api.listOf(api.historyView),
    async handle({ store }, { path, query: { limit, before } }) {
      const { name } = await findNode(store, path.name);
      const found = await store.history(name, { limit: limit + 1, ...(before !== undefined && { before }) });
      const page = found.length > limit ? wholeMoments(found.slice(0, limit), found[limit]?.at) : found;
      const next = page.length < found.length ? String(page.at(-1)?.at) : null;
      return ok({ items: page.map(historyEntryView), next });
    },
  }),
  routeWithQuery('GET', '/v1/nodes/{name}/bundle', 'reader', {
    summary:
      'The evidence behind the latest verdict, to be judged again offline; parameter evidence (a digest of the history)',
    query: bundleQuery,
    async handle({ store, bundle }, { path, query: { evidence = null } }) {
      const { name } = await findNode(store, path.name);
      const found = await bundle(name, evidence);
      if (found === null) throw new HttpProblem(404, `no evidence of ${name} is kept`);
      return ok(found);
    },
  }),
  route('POST', '/v1/nodes/{name}/attest', 'operator', {
    summary: 'Have a node prove itself now; its verdict follows when it answers',
    answer: api.attestAnswer,
    async handle({ store, unsupported, challengeNow }, { path }) {
      if (
        unsupported().some(({ name }) => name === path.name) &&
        (await store.node(path.name ?? '')) === null
      )
        throw new HttpProblem(409, `${path.name} has no TPM that could be asked: so says the policy`);
      const { name } = await findNode(store, path.name);
      const verifiedAt = (await store.status(name))?.verifiedAt ?? null;
      const connected = challengeNow(name);
      const body = { node: name, connected, verifiedAt: verifiedAt && new Date(verifiedAt).toISOString() };
      return { status: 202, body };
    },
  }),
  route('POST', '/v1/pins', 'operator', {
    summary: 'Bind node names to endorsement keys from an inventory; all or none',
    body: api.pinsRequest,
    answer: api.pinsAnswer,
    async handle({ importPins }, { message, caller }) {
      const { pins } = await readBody(message, api.pinsRequest, importBytes);
      await importPins(
        pins.map(({ node, ek }) => ({ node, ekDigest: ek })),
        actorOf(caller),
      );
      return { status: 201, body: { imported: pins.length } };
    },
  }),
  route('POST', '/v1/join-tokens', 'operator', {
    summary: 'Make a token with which one node of that name can enrol once',
    body: api.joinTokenRequest,
    answer: api.joinTokenAnswer,
    async handle({ createJoinToken, now }, { message, caller }) {
      const { node, ttlSeconds } = await readBody(message, api.joinTokenRequest, bodyBytes);
      const ttlMs = ttlSeconds * 1000;
      const expiresAt = new Date(now() + ttlMs).toISOString();
      const token = await createJoinToken({ node, ttlMs, actor: actorOf(caller) });
      return { status: 201, body: { node, token, expiresAt } };
    },
  }),
  route('GET', '/v1/join-tokens', 'operator', {
    summary: 'Join tokens that were made, without their secrets',
    answer: api.listOf(api.joinTokenView),
    async handle({ joinTokens }) {
      return ok({ items: (await joinTokens()).map(joinTokenSummary), next: null });
    },
  }),
  route('DELETE', '/v1/join-tokens/{id}', 'operator', {
    summary: 'Take back a join token that was not used',
    answer: api.joinTokenRevoked,
    async handle({ revokeJoinToken }, { path, caller }) {
      const id = api.joinTokenId.safeParse(path.id).data;
      if (id === undefined || !(await revokeJoinToken(id, actorOf(caller))))
        throw new HttpProblem(
          404,
          'there is no such join token that was not used; a node that used one ends with `enrol revoke`',
        );
      return ok({ revoked: id });
    },
  }),
  ...auditRoutes,
  ...authorityRoutes,
  ...enrolmentRoutes,
  ...policyRoutes,
  ...referenceRoutes,
  ...serverRoutes,
  ...tokenRoutes,
  route('GET', '/openapi.json', 'none', {
    summary: 'This description',
    handle() {
      description ??= openApi(routes);
      return ok(description);
    },
  }),
  route('GET', '/livez', 'none', { summary: 'The process answers', handle: () => liveness() }),
  route('GET', '/readyz', 'none', {
    summary: 'The server can judge and record',
    handle: ({ ready }) => readiness(ready()),
  }),
];

function joinTokenSummary({ id, node, expiresAt, usedAt }: Omit<JoinToken, 'secretHash'>): api.JoinTokenView {
  return {
    id,
    node,
    expiresAt: new Date(expiresAt).toISOString(),
    usedAt: usedAt === null ? null : new Date(usedAt).toISOString(),
  };
}

/** The view with what a person does next about each reason. */
function advised(view: api.NodeView, { advise }: Pick<ApiPorts, 'advise'>): api.NodeView {
  const reasons = view.reasons.map((reason) => ({ ...reason, next: advise(reason.code, view.name) }));
  return { ...view, reasons };
}

/** Entries of one moment stay on one page, since the next page begins before a moment. */
function wholeMoments<T extends { readonly at: number }>(page: readonly T[], following: number | undefined) {
  const whole = page.filter(({ at }) => at !== following);
  return whole.length > 0 ? whole : page;
}
