import { z } from 'zod';
import { auditActionNames } from '../formats/audit.ts';
import { auditKeyHistory } from '../wire/audit-key.ts';
import { checkpointLength, originPattern } from '../wire/checkpoint.ts';
import { nodeName } from '../wire/messages.ts';
import { words } from './node-filter.ts';

/** The audit log as the API pages it, and as `assay audit export` writes it: one JSON object a line. */

/** One entry. Nothing is checked here but its form. */
export const auditEntry = z.strictObject({
  seq: z.number(),
  at: z.number(),
  actor: z.string(),
  action: z.string(),
  subject: z.string(),
  code: z.string().nullable(),
  detail: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
  prev: z.string(),
  hash: z.string(),
});

/** The same, for many entries at a time; what `detail` holds is not looked at. */
export function isAuditEntry(value: unknown): value is z.infer<typeof auditEntry> {
  if (typeof value !== 'object' || value === null || Object.keys(value).length !== 9) return false;
  return (
    'seq' in value &&
    typeof value.seq === 'number' &&
    'at' in value &&
    typeof value.at === 'number' &&
    'actor' in value &&
    typeof value.actor === 'string' &&
    'action' in value &&
    typeof value.action === 'string' &&
    'subject' in value &&
    typeof value.subject === 'string' &&
    'code' in value &&
    (value.code === null || typeof value.code === 'string') &&
    'detail' in value &&
    typeof value.detail === 'object' &&
    value.detail !== null &&
    !Array.isArray(value.detail) &&
    'prev' in value &&
    typeof value.prev === 'string' &&
    'hash' in value &&
    typeof value.hash === 'string'
  );
}

const moment = z.iso.datetime({ offset: true }).transform((text) => Date.parse(text));

/** Which entries are asked for: parameters of `GET /v1/audit`, flags of `assay audit list`. Actions stand with commas. */
export const auditFilter = z.strictObject({
  since: moment.optional(),
  until: moment.optional(),
  actor: z.string().min(1).max(512).optional(),
  action: z.string().transform(words('action', auditActionNames)).optional(),
  node: nodeName.optional(),
});

const origin = z.string().regex(originPattern, 'not an origin');
const owner = z.strictObject({ origin, keys: auditKeyHistory });
const note = z.string().max(checkpointLength);

export const auditPage = z.object({ items: z.array(auditEntry), next: z.string().nullable() });

export const checkpointPage = z.object({
  origin,
  keys: auditKeyHistory,
  /** Origins whose key was lost, the oldest first. */
  earlier: z.array(owner).max(64).default([]),
  /** Signed notes, in the order in which they were signed. */
  items: z.array(note),
  next: z.string().nullable(),
});

/**
 * A line of an export: the keys of each origin, the latest last, then the entries by number, each followed by the
 * checkpoints that sign it. Up to 0.1.0 the keys and all checkpoints stood behind the entries.
 */
export const auditLine = z.union([
  z.strictObject({ entry: auditEntry }),
  owner,
  z.strictObject({ checkpoint: note }),
]);
export type AuditLine = z.infer<typeof auditLine>;

export const rotateAnswer = z.object({ keyId: z.string() });
export const resolveRequest = z.strictObject({ reason: z.string().min(1).max(512) });
export const resolveAnswer = z.object({ wasReported: z.boolean() });
/** Where the copy is, on the server. */
export const backupAnswer = z.object({ path: z.string(), bytes: z.int() });
