import { z } from 'zod';
import { reasonCodes } from '../wire/reasons.ts';

/** Codes of problems of a request, beside the reason codes that some problems have. */
const words = [
  /** The request itself: its target, or how a path is encoded. */
  'bad_request',
  /** A member of the body or of the query; `field` names it. */
  'invalid_field',
  /** The policy that was sent has faults. */
  'invalid_policy',
  /** No such path: mistyped, or of a newer version. */
  'unknown_path',
  /** The path is right; what it names is not there. */
  'not_found',
  'method_not_allowed',
  /** The present state does not allow it. */
  'conflict',
  'unsupported_media_type',
  /** Come again after `Retry-After` seconds. */
  'busy',
  /** An irrevocable step wants a copy of the audit key elsewhere, and none was shown. */
  'audit_key_not_copied',
  /** The API of the cluster gave no answer, or refused. */
  'cluster_failed',
  /** A fault of the server's own. */
  'internal_error',
] as const;

/** The closed list of `code` in a problem. */
const problemCodes = [...words, ...reasonCodes] as const;
export const problemCodeSchema = z.enum(problemCodes);
export type ProblemCode = z.infer<typeof problemCodeSchema>;

/** RFC 9457, `application/problem+json`. */
export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  /** One sentence for a person. */
  detail: z.string(),
  code: problemCodeSchema,
  /** The faulty member of the request, such as `body.node` or `query.limit`. */
  field: z.string().optional(),
  /** The advice for a person; a line that begins with two blanks is a command. */
  next: z.string().optional(),
});
export type Problem = z.infer<typeof problem>;

/** As servers of other versions say it: 0.1.0 gave a code to some alone, and a newer one may know others. */
export const anyProblem = problem.extend({ code: z.string().optional() });
