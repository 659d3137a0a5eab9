import { z } from 'zod';
import type { SimulatedNode } from '../policy/draft/simulation.ts';
import { policyView } from '../protocol/api.ts';
import { nodeName } from '../protocol/messages.ts';
import { observationsAnswer, simulateAnswer, simulateRequest } from '../protocol/policy-api.ts';
import { readBody } from './body.ts';
import type { ApiPorts } from './ports.ts';
import { HttpProblem } from './problem.ts';
import { ok, type Route, route, routeWithQuery } from './route.ts';

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
];

function withMarks(item: SimulatedNode, cluster: ApiPorts['cluster']): object {
  const { node, before, after } = item;
  const then = after && (cluster?.tryMarks(node, after) ?? null);
  if (then === null) return { ...item, marks: null };
  return { ...item, marks: { before: before && (cluster?.tryMarks(node, before) ?? null), after: then } };
}

/** Faults of a file of the caller's: its message names each of them. */
function refusedPolicy(error: unknown): never {
  if (error instanceof Error && error.name === 'PolicyError')
    throw new HttpProblem(400, error.message.split('\n').slice(0, 32).join('\n'), {
      code: 'invalid_policy',
    });
  throw error;
}
