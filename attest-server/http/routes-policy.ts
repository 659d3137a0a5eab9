import { z } from 'zod';
import { policyView } from '../api/api.ts';
import { listOf } from '../api/list.ts';
import {
  observationsAnswer,
  type PolicyRevisionText,
  type PolicyRevisionView,
  policyAllowed,
  policyAllowRequest,
  policyDigits,
  policyRevisionText,
  policyRevisionView,
  policyRollbackRequest,
  policyRolledBack,
  simulateAnswer,
  simulateRequest,
} from '../api/policy-api.ts';
import { policyLabel, revisionOf } from '../formats/policy-label.ts';
import type { PolicyRevision } from '../in-force/ports.ts';
import type { SimulatedNode } from '../policy/draft/simulation.ts';
import { nodeName } from '../wire/messages.ts';
import { parseShape, readBody } from './body.ts';
import { rfc3339 } from './node-view.ts';
import type { ApiPorts } from './ports.ts';
import { HttpProblem } from './problem.ts';
import { actorOf, ok, type Route, route, routeWithQuery, bodyBytes as usualBytes } from './route.ts';

/** A policy of the most characters, each of which JSON may write as six bytes. */
const bodyBytes = 2 * 1024 * 1024;

const page = z.strictObject({
  limit: z.coerce.number().int().min(1).max(500).default(200),
  after: nodeName.optional(),
});

/** The policy in force, and what another one would make of the evidence that is kept. */
export const policyRoutes: readonly Route[] = [
  route('GET', '/v1/policy', 'reader', {
    operation: 'getPolicy',
    summary: 'The policy in force',
    answer: policyView,
    handle({ policy, policies }) {
      const { name, revision, text } = policy();
      return ok({ name, revision, text, groups: policies.groups() });
    },
  }),
  routeWithQuery('GET', '/v1/policy/observations', 'reader', {
    operation: 'listObservations',
    summary:
      'What each node is and boots, for a draft of a policy; parameters limit, after (the `next` of the page before)',
    answer: observationsAnswer,
    problems: [429],
    query: page,
    async handle({ policies, enrolment }, { query }) {
      const page = await policies.observations(query);
      // Once: they are no part of the pages.
      return ok({ ...page, withoutTpm: query.after === undefined ? enrolment.claimedWithoutTpm() : [] });
    },
  }),
  route('POST', '/v1/policy/simulate', 'operator', {
    operation: 'simulatePolicy',
    summary:
      'What another policy would make of the latest evidence of each node; nothing is stored; after is the `next` of the page before',
    body: simulateRequest,
    problems: [429],
    maxBytes: bodyBytes,
    answer: simulateAnswer,
    async handle({ policies, cluster }, { message }) {
      const { policy, file, after, limit } = await readBody(message, simulateRequest, bodyBytes);
      const page = await policies.simulate({ text: policy, file }, { after, limit }).catch(refusedPolicy);
      return ok({ ...page, items: page.items.map((item) => withMarks(item, cluster)) });
    },
  }),
  route('GET', '/v1/policy/history', 'reader', {
    operation: 'listPolicies',
    summary: 'The policies that were in force, the latest first; the oldest are not kept',
    answer: listOf(policyRevisionView),
    async handle({ policyHistory }) {
      return ok({ items: (await policyHistory.list()).map(revisionView), next: null });
    },
  }),
  route('GET', '/v1/policy/history/{revision}', 'reader', {
    operation: 'getPolicyRevision',
    summary: 'A policy that is or was in force, by the first digits of the SHA-256 of its text',
    problems: [404],
    answer: policyRevisionText,
    async handle({ policyHistory }, { path }) {
      const digits = parseShape(policyDigits, path.revision, 'path');
      const kept = await policyHistory.kept(digits).catch(notKept);
      const view: PolicyRevisionText = { ...revisionView(kept), text: kept.text };
      return ok(view);
    },
  }),
  route('POST', '/v1/policy/rollback', 'admin', {
    operation: 'rollBackPolicy',
    summary: 'Put an earlier policy in force until the text in file or directory changes',
    body: policyRollbackRequest,
    status: 201,
    problems: [404, 409],
    answer: policyRolledBack,
    async handle({ policyHistory, server }, { message, caller }) {
      const { revision, reason } = await readBody(message, policyRollbackRequest, usualBytes);
      await policyHistory.kept(revision).catch(notKept);
      const word = { by: actorOf(caller), reason };
      const { before, now } = await policyHistory.goBack(revision, word).catch(notPossible);
      const body = {
        policy: policyLabel(now),
        before: policyLabel(before),
        source: server.policySource(),
        untilChanged: policyHistory.rollback() !== null,
      };
      return { status: 201, body };
    },
  }),
  route('POST', '/v1/policy/allow', 'admin', {
    operation: 'allowPolicy',
    summary:
      'Let one policy come into force, whatever number of nodes it makes untrusted: at once if it was refused for that, otherwise at the next reload',
    body: policyAllowRequest,
    status: 201,
    problems: [409],
    answer: policyAllowed,
    async handle({ policyHistory }, { message, caller }) {
      const { revision, reason } = await readBody(message, policyAllowRequest, usualBytes);
      const word = { by: actorOf(caller), reason };
      const { digest, isInForce, refused } = await policyHistory.allow(revision, word).catch(notPossible);
      return { status: 201, body: { digest, inForce: isInForce, refused } };
    },
  }),
];

function revisionView(kept: PolicyRevision): PolicyRevisionView {
  const { digest, name, source, length, firstAt, lastAt, endedAt, came, by, reason } = kept;
  return {
    policy: policyLabel({ name, revision: revisionOf(digest) }),
    digest,
    source,
    length,
    firstAt: new Date(firstAt).toISOString(),
    lastAt: new Date(lastAt).toISOString(),
    endedAt: rfc3339(endedAt),
    came,
    by,
    reason,
  };
}

function notKept(error: unknown): never {
  if (error instanceof Error && error.name === 'NotNow')
    throw new HttpProblem(404, error.message, { next: 'See which are kept:\n  assay policy history' });
  throw error;
}

/** The latch, or what people decided before, speaks against it. */
function notPossible(error: unknown): never {
  if (error instanceof Error && error.name === 'NotNow') throw new HttpProblem(409, error.message);
  if (error instanceof Error && error.name === 'PolicyError') {
    const code = 'code' in error && error.code === 'latched' ? 'latched' : 'invalid_policy';
    throw policyProblem(409, error.message, code);
  }
  throw error;
}

function withMarks(item: SimulatedNode, cluster: ApiPorts['cluster']): object {
  const { node, before, after } = item;
  const then = after && (cluster?.tryMarks(node, after) ?? null);
  if (then === null) return { ...item, marks: null };
  return { ...item, marks: { before: before && (cluster?.tryMarks(node, before) ?? null), after: then } };
}

/** Faults of a file of the caller's: its message names each of them. */
function refusedPolicy(error: unknown): never {
  if (error instanceof Error && error.name === 'PolicyError')
    throw policyProblem(400, error.message, 'invalid_policy');
  throw error;
}

/** @param faults a line each */
function policyProblem(status: 400 | 409, faults: string, code: 'invalid_policy' | 'latched'): HttpProblem {
  return new HttpProblem(status, faults.split('\n').slice(0, 32).join('\n'), { code });
}
