import { z } from 'zod';
import * as pages from '../api/audit-pages.ts';
import { readBody } from './body.ts';
import { actorOf, bodyBytes, nothing, ok, type Route, route, routeWithQuery } from './route.ts';

const page = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1000).default(500),
  after: z.coerce.number().int().min(0).default(0),
});

const entriesPage = pages.auditFilter.extend({
  limit: page.shape.limit,
  after: z.coerce.number().int().min(0).optional(),
  order: z.enum(['oldest', 'newest']).default('oldest'),
});

const checkpointsPage = page.extend({ above: z.coerce.number().int().min(0).default(0) });

/** The audit log: what was done, by whom, and what shows that nobody changed it since. */
export const auditRoutes: readonly Route[] = [
  routeWithQuery('GET', '/v1/audit', 'reader', {
    operation: 'listAuditEntries',
    summary:
      'Audit entries in their order, or the newest first (order=newest), about 1 MiB a page, which may be empty although more follow: `next` says so; parameters limit, after (the `next` of the page before); since, until, actor, action (several with commas), node choose among them',
    query: entriesPage,
    answer: pages.auditPage,
    async handle({ audit }, { query: { limit, after = null, order, ...filter } }) {
      const { items, next } = await audit.search({ filter, after, newestFirst: order === 'newest', limit });
      return ok({ items, next: next === null ? null : String(next) });
    },
  }),
  routeWithQuery('GET', '/v1/audit/checkpoints', 'reader', {
    operation: 'listCheckpoints',
    summary:
      'The keys of the audit log and its signed checkpoints, the newest made for the first page; parameters limit, after (the `next` of the page before), above (only those of more entries)',
    query: checkpointsPage,
    answer: pages.checkpointPage,
    async handle({ audit }, { query: { limit, after, above } }) {
      if (after === 0) await audit.sign();
      const found = await audit.checkpoints({ after, above, limit });
      const next = found.length < limit ? null : String(found.at(-1)?.id);
      return ok({ ...audit.keys(), items: found.map(({ note }) => note), next });
    },
  }),
  route('POST', '/v1/audit/keys', 'admin', {
    operation: 'rotateAuditKey',
    summary: 'Replace the audit key; the old key signs the new one',
    body: nothing,
    status: 201,
    answer: pages.rotateAnswer,
    async handle({ audit }, { message, caller }) {
      await readBody(message, nothing, bodyBytes);
      return { status: 201, body: await audit.rotate(actorOf(caller)) };
    },
  }),
  route('POST', '/v1/audit/resolve', 'admin', {
    operation: 'resolveAuditRollback',
    summary: 'Explain why the audit log was rolled back or replaced: verification then counts it as resolved',
    body: pages.resolveRequest,
    status: 201,
    answer: pages.resolveAnswer,
    async handle({ audit }, { message, caller }) {
      const { reason } = await readBody(message, pages.resolveRequest, bodyBytes);
      return { status: 201, body: { wasReported: await audit.resolve(actorOf(caller), reason) } };
    },
  }),
  route('POST', '/v1/backups', 'admin', {
    operation: 'createBackup',
    summary: 'Write a consistent copy of the database into the folder `backups` of the state folder',
    needsRoom: true,
    body: nothing,
    status: 201,
    answer: pages.backupAnswer,
    async handle({ audit }, { message, caller }) {
      await readBody(message, nothing, bodyBytes);
      return { status: 201, body: await audit.backup(actorOf(caller)) };
    },
  }),
];
