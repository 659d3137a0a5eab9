import { z } from 'zod';
import * as api from '../api/api.ts';
import { listOf } from '../api/list.ts';
import * as shown from '../api/node-api.ts';
import { nodeFilter } from '../api/node-filter.ts';
import type { JoinToken } from '../enrolment/ports.ts';
import { bundle } from '../formats/bundle.ts';
import { nodeName } from '../wire/messages.ts';
import { readBody } from './body.ts';
import { chooseNodes } from './choose-nodes.ts';
import { findNode, noSuchNode } from './find-node.ts';
import { knownAlone, knownOf, refusedView } from './known-node.ts';
import { withMassAdvice } from './mass-failure.ts';
import { listNodes, withoutTpm } from './node-list.ts';
import {
  historyEntryView,
  nodeView,
  shownNextBoot,
  transitionView,
  unsupportedView,
  withAbsence,
} from './node-view.ts';
import { openApi } from './openapi.ts';
import type { ApiPorts } from './ports.ts';
import { live, liveness, readiness, readinessView } from './probes.ts';
import { HttpProblem } from './problem.ts';
import { referenceNameFor } from './reference-name.ts';
import { refusedKeys } from './refused-keys.ts';
import { actorOf, bodyBytes, type JsonAnswer, ok, type Route, route, routeWithQuery } from './route.ts';
import { auditRoutes } from './routes-audit.ts';
import { authorityRoutes } from './routes-authority.ts';
import { clusterRoutes } from './routes-cluster.ts';
import { enrolmentRoutes } from './routes-enrolment.ts';
import { eventRoutes } from './routes-events.ts';
import { policyRoutes } from './routes-policy.ts';
import { referenceRoutes } from './routes-reference.ts';
import { serverRoutes } from './routes-server.ts';
import { tokenRoutes } from './routes-token.ts';
import { volumeRoutes } from './routes-volume.ts';

const importBytes = 1024 * 1024;
const shownTransitions = 5;

const nodesPage = nodeFilter.extend({
  limit: z.coerce.number().int().min(1).max(1000).default(500),
  after: nodeName.optional(),
  all: z
    .enum(['true', 'false'], 'not true or false')
    .default('false')
    .describe('`true`: also nodes that are gone from the cluster'),
});
const bundleQuery = z.strictObject({
  evidence: z
    .string()
    .regex(/^[0-9a-f]{12,64}$/, 'not a digest: 12 to 64 hex digits')
    .describe(
      'the digest of a verdict of the history, or its first 12 or more digits; default: of the latest',
    )
    .optional(),
});
const historyPage = z.strictObject({
  limit: z.coerce.number().int().min(1).max(500).default(50),
  before: z.coerce.number().int().min(0).optional(),
});

/** Made once: whoever asks needs no token, and making it takes milliseconds. */
/** Made once: a stranger may request it, and serialising it costs more than anything else that a stranger may have. */
let description: JsonAnswer | null = null;

/** The table that the listener, `/openapi.json` and the tests walk. */
export const routes: readonly Route[] = [
  routeWithQuery('GET', '/v1/nodes', 'reader', {
    operation: 'listNodes',
    summary:
      'Enrolled nodes with their states, and machines that say they have no TPM: all that are not gone from the cluster, or those that the parameters choose',
    query: nodesPage,
    answer: listOf(shown.nodeView),
    async handle(ports, { query: { limit, after, all, ...filter } }) {
      const withKnown = knownOf(ports);
      const nodes = (await listNodes(ports, all === 'true')).map(({ name, view }) => ({
        name,
        view: () => withKnown(view()),
      }));
      const names = new Set(nodes.map(({ name }) => name));
      const listed = [...nodes, ...withoutTpm(ports.enrolment).filter(({ name }) => !names.has(name))].sort(
        (a, b) => (a.name < b.name ? -1 : 1),
      );
      const found = chooseNodes(listed, filter, ports, { after, most: limit + 1 });
      const nextBoots = await ports.references.nextBoots();
      const items = found
        .slice(0, limit)
        .map((view) => ({ ...advised(view, ports), nextBoot: shownNextBoot(nextBoots.get(view.name)) }));
      return ok({ items, next: found.length > limit ? (items.at(-1)?.name ?? null) : null });
    },
  }),
  route('GET', '/v1/nodes/{name}', 'reader', {
    operation: 'getNode',
    summary: 'One node; or, for a name that is not enrolled, who claimed it and was refused',
    answer: shown.nodeView,
    async handle(ports, { path }) {
      const { store, enrolment, now } = ports;
      const name = nodeName.safeParse(path.name).data ?? '';
      const enrolled = await store.node(name);
      if (enrolled !== null) {
        const status = await store.status(name);
        const view = withAbsence(
          nodeView(status, enrolled, now(), store.serverFault(name)),
          await ports.presence.readAbsence(name),
        );
        const transitions = await store.transitions(name, shownTransitions);
        const known = {
          ...knownAlone(ports, view),
          transitions: transitions.map(transitionView),
          refusedKeys: [...(await refusedKeys(ports, enrolled, status))],
          nextBoot: shownNextBoot((await ports.references.nextBoots(name)).get(name)),
        };
        return ok(withMassAdvice(advised(known, ports), ports));
      }
      const unsupported = enrolment.unsupported().find((one) => one.name === name);
      if (unsupported !== undefined) return ok(advised(unsupportedView(unsupported), ports));
      const refused = enrolment.claims().get(name);
      if (refused !== undefined) return ok(advised(refusedView(name, refused, enrolment), ports));
      throw noSuchNode(path.name);
    },
  }),
  routeWithQuery('GET', '/v1/nodes/{name}/history', 'reader', {
    operation: 'listNodeHistory',
    summary: 'Verdicts of one node, newest first; parameters limit, before (the `next` of the page before)',
    query: historyPage,
    answer: listOf(api.historyView),
    async handle({ store }, { path, query: { limit, before } }) {
      const { name } = await findNode(store, path.name);
      const found = await store.history(name, { limit: limit + 1, ...(before !== undefined && { before }) });
      const page = found.length > limit ? wholeMoments(found.slice(0, limit), found[limit]?.at) : found;
      const next = page.length < found.length ? String(page.at(-1)?.at) : null;
      return ok({ items: page.map(historyEntryView), next });
    },
  }),
  routeWithQuery('GET', '/v1/nodes/{name}/bundle', 'reader', {
    operation: 'getNodeBundle',
    summary:
      'The evidence behind the latest verdict, to be judged again offline; parameter evidence (a digest of the history, or its first 12 or more digits)',
    query: bundleQuery,
    answer: bundle,
    async handle({ store, bundle: bundleOf }, { path, query: { evidence = null } }) {
      const { name } = await findNode(store, path.name);
      const found = await bundleOf(name, evidence);
      if (found === null) {
        const which = evidence === null ? '' : ` under the digest ${evidence.slice(0, 12)}`;
        throw new HttpProblem(404, `no evidence of ${name} is kept${which}`);
      }
      return ok(found);
    },
  }),
  route('POST', '/v1/nodes/{name}/attest', 'operator', {
    operation: 'attestNode',
    status: 202,
    problems: [409],
    summary: 'Make a node prove itself now; its verdict follows when it answers',
    answer: api.attestAnswer,
    async handle({ store, enrolment, challengeNow }, { path }) {
      if (
        enrolment.unsupported().some(({ name }) => name === path.name) &&
        (await store.node(path.name ?? '')) === null
      )
        throw new HttpProblem(409, `${path.name} has no TPM to ask, according to the policy`);
      const { name } = await findNode(store, path.name);
      const verifiedAt = (await store.status(name))?.verifiedAt ?? null;
      const connected = challengeNow(name);
      const body = { node: name, connected, verifiedAt: verifiedAt && new Date(verifiedAt).toISOString() };
      return { status: 202, body };
    },
  }),
  route('POST', '/v1/pins', 'operator', {
    operation: 'importPins',
    summary: 'Bind node names to endorsement keys from an inventory; all or none',
    needsRoom: true,
    body: api.pinsRequest,
    status: 201,
    problems: [409],
    maxBytes: importBytes,
    answer: api.pinsAnswer,
    async handle({ enrolment }, { message, caller }) {
      const { pins } = await readBody(message, api.pinsRequest, importBytes);
      await enrolment.importPins(
        pins.map(({ node, ek }) => ({ node, ekDigest: ek })),
        actorOf(caller),
      );
      return { status: 201, body: { imported: pins.length } };
    },
  }),
  route('POST', '/v1/join-tokens', 'operator', {
    operation: 'createJoinToken',
    summary: 'Make a token with which one node of that name can enrol once',
    body: api.joinTokenRequest,
    status: 201,
    answer: api.joinTokenAnswer,
    async handle({ enrolment, store, now }, { message, caller }) {
      const { node, ttlSeconds } = await readBody(message, api.joinTokenRequest, bodyBytes);
      const ttlMs = ttlSeconds * 1000;
      const expiresAt = new Date(now() + ttlMs).toISOString();
      const token = await enrolment.createJoinToken({ node, ttlMs, actor: actorOf(caller) });
      const nameEnrolled = (await store.node(node)) !== null;
      return { status: 201, body: { node, token, expiresAt, nameEnrolled } };
    },
  }),
  route('GET', '/v1/join-tokens', 'operator', {
    operation: 'listJoinTokens',
    summary: 'Join tokens that were made, without their secrets',
    answer: listOf(api.joinTokenView),
    async handle({ enrolment }) {
      return ok({ items: (await enrolment.joinTokens()).map(joinTokenSummary), next: null });
    },
  }),
  route('DELETE', '/v1/join-tokens/{id}', 'operator', {
    operation: 'revokeJoinToken',
    summary: 'Take back a join token that was not used',
    answer: api.joinTokenRevoked,
    async handle({ enrolment }, { path, caller }) {
      const id = api.joinTokenId.safeParse(path.id).data;
      if (id === undefined || !(await enrolment.revokeJoinToken(id, actorOf(caller))))
        throw new HttpProblem(
          404,
          'there is no such unused join token; if a node has used it, revoke that node with `enrol revoke`',
        );
      return ok({ revoked: id });
    },
  }),
  ...auditRoutes,
  ...authorityRoutes,
  ...clusterRoutes,
  ...enrolmentRoutes,
  ...eventRoutes,
  ...policyRoutes,
  ...referenceRoutes,
  ...serverRoutes,
  ...tokenRoutes,
  ...volumeRoutes,
  route('GET', '/openapi.json', 'none', {
    operation: 'getDescription',
    summary: 'This description',
    handle() {
      description ??= withText(openApi(routes));
      return description;
    },
  }),
  route('GET', '/livez', 'none', {
    operation: 'getLiveness',
    summary: 'The process answers',
    answer: live,
    handle: () => liveness(),
  }),
  route('GET', '/readyz', 'none', {
    operation: 'getReadiness',
    summary: 'The server can judge and record; otherwise 503',
    answer: readinessView,
    others: { 503: readinessView },
    handle: ({ ready }) => readiness(ready()),
  }),
];

function joinTokenSummary({
  id,
  node,
  by,
  expiresAt,
  usedAt,
}: Omit<JoinToken, 'secretHash'>): api.JoinTokenView {
  return {
    id,
    node,
    by,
    expiresAt: new Date(expiresAt).toISOString(),
    usedAt: usedAt === null ? null : new Date(usedAt).toISOString(),
  };
}

/** The view with what a person does next about each reason. */
function advised(view: shown.NodeView, { advise }: Pick<ApiPorts, 'advise'>): shown.NodeView {
  if (view.reasons.length === 0) return view;
  const { name: node, group, ek, evidence, bootSeenAt, turned } = view;
  const name = bootSeenAt && evidence && referenceNameFor(node, bootSeenAt, evidence);
  const known = { node, group, ek, evidence, name };
  // A person who looks for the cause on the node finds none, and might vouch for it. Unproven nodes can still be proven.
  const wayBack = view.state === 'pending' ? undefined : turned?.next;
  const next = (reason: shown.ReasonView) => wayBack ?? reason.next ?? advise(reason, known);
  const reasons = view.reasons.map((reason) => ({ ...reason, next: next(reason) }));
  return { ...view, reasons };
}

/** Entries of one moment stay on one page, since the next page begins before a moment. */
function wholeMoments<T extends { readonly at: number }>(page: readonly T[], following: number | undefined) {
  const whole = page.filter(({ at }) => at !== following);
  return whole.length > 0 ? whole : page;
}

function withText(body: unknown): JsonAnswer {
  return { ...ok(body), text: `${JSON.stringify(body)}\n` };
}
