import * as api from '../api/api.ts';
import { listOf } from '../api/list.ts';
import type { WaitingTpm } from '../enrolment/approvals.ts';
import { nodeName } from '../wire/messages.ts';
import { hasBody, readBody } from './body.ts';
import { checkRole, HttpProblem } from './problem.ts';
import { actorOf, bodyBytes, ok, type Route, route } from './route.ts';

/** A thousand names of the longest, each with a digest. */
const bindingsBytes = 512 * 1024;

/** Who is who: TPMs that wait, and what people decide about them. */
export const enrolmentRoutes: readonly Route[] = [
  route('GET', '/v1/enrolments', 'reader', {
    operation: 'listEnrolments',
    summary: 'TPMs that claimed a name and for which nobody has vouched',
    answer: listOf(api.candidateView),
    async handle({ enrolment: { approvals } }) {
      return ok({ items: (await approvals.waiting()).map(candidateSummary), next: null });
    },
  }),
  route('POST', '/v1/enrolments/{node}/approve', 'operator', {
    operation: 'approveEnrolment',
    summary: 'Let the TPM with this endorsement key enrol under this name when it next comes',
    body: api.approveRequest,
    status: 201,
    problems: [409],
    answer: api.approveAnswer,
    async handle({ enrolment: { approvals } }, { message, path, caller }) {
      const node = nodeOf(path.node);
      const { ek } = await readBody(message, api.approveRequest, bodyBytes);
      const { ekDigest, isWaiting } = await approvals.approve(node, ek, actorOf(caller));
      return { status: 201, body: { node, ek: ekDigest, waiting: isWaiting } };
    },
  }),
  route('POST', '/v1/enrolments/approve-all', 'operator', {
    operation: 'approveAllEnrolments',
    summary: 'Make approvals of bindings by first use: those that are named, or all',
    body: api.approveAllRequest,
    maxBytes: bindingsBytes,
    answer: api.approveAllAnswer,
    status: 201,
    async handle({ enrolment: { approvals } }, { message, caller }) {
      const { bindings } = hasBody(message)
        ? await readBody(message, api.approveAllRequest, bindingsBytes)
        : {};
      const only = bindings?.map(({ node, ek }) => ({ name: node, ekDigest: ek })) ?? null;
      return { status: 201, body: { approved: await approvals.approveAll(actorOf(caller), only) } };
    },
  }),
  route('POST', '/v1/enrolments/{node}/revoke', 'operator', {
    operation: 'revokeEnrolment',
    summary:
      'Revoke an enrolment: the name becomes free, and the TPM needs a new approval; an admin may have its evidence erased',
    body: api.revokeRequest,
    status: 201,
    answer: api.revokeAnswer,
    async handle({ enrolment: { approvals } }, { message, path, caller }) {
      const node = nodeOf(path.node);
      const { reason, eraseEvidence = false } = await readBody(message, api.revokeRequest, bodyBytes);
      if (eraseEvidence && caller !== null) checkRole(caller, 'admin');
      const revoked = await approvals.revoke(node, { reason, actor: actorOf(caller), eraseEvidence });
      if (revoked === null) throw new HttpProblem(404, 'there is no such node');
      return { status: 201, body: { node, ...revoked } };
    },
  }),
];

function nodeOf(text: string | undefined): string {
  const node = nodeName.safeParse(text).data;
  if (node === undefined) throw new HttpProblem(404, 'this is not the name of a node');
  return node;
}

function candidateSummary(candidate: WaitingTpm): api.CandidateView {
  const { node, ekDigest, certificateSubject, manufacturer, address, attempts } = candidate;
  return {
    node,
    ek: ekDigest,
    certificateSubject,
    manufacturer,
    address,
    attempts,
    firstSeen: new Date(candidate.firstSeen).toISOString(),
    lastSeen: new Date(candidate.lastSeen).toISOString(),
    nameEnrolled: candidate.nameIsEnrolled,
    approved: candidate.isApproved,
  };
}
