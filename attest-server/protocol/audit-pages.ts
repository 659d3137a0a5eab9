import { z } from 'zod';
import { auditKeyHistory } from './audit-key.ts';
import { checkpointLength, originPattern } from './checkpoint.ts';

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

/** A line of an export: entries by number, then the keys of each origin, the latest last, then the checkpoints. */
export const auditLine = z.union([
  z.strictObject({ entry: auditEntry }),
  owner,
  z.strictObject({ checkpoint: note }),
]);
export type AuditLine = z.infer<typeof auditLine>;

export const rotateAnswer = z.object({ keyId: z.string() });
/** Where the copy is, on the server. */
export const backupAnswer = z.object({ path: z.string(), bytes: z.int() });
