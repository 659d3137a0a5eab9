import { z } from 'zod';
import { ClusterError } from '../marking/ports.ts';

/** Members that are read of the API's answer to a request that failed. */
const statusSchema = z.object({
  message: z.string().optional().catch(undefined),
  details: z
    .object({
      retryAfterSeconds: z.number().optional().catch(undefined),
      causes: z.array(z.unknown()).optional().catch(undefined),
    })
    .optional()
    .catch(undefined),
});

export interface FailedRequest {
  /** HTTP status. */
  readonly code: number;
  readonly body: unknown;
  readonly retryAfter: string | undefined;
  /** `patch nodes worker-1`. */
  readonly what: string;
  /** Whether it was a patch that tests what it changes. */
  readonly tests: boolean;
}

/** An answer that is no success, as an error with its reason. */
export function errorOf({ code, body, retryAfter, what, tests }: FailedRequest): ClusterError {
  const status = statusSchema.safeParse(body).data;
  const causes = status?.details?.causes ?? [];
  // A test that fails is 422, as is what breaks a rule of the object; only the latter names fields.
  const reason = code === 422 && tests && causes.length === 0 ? 'conflict' : reasonOf(code);
  const said = status?.message === undefined ? '' : `: ${printable(status.message)}`;
  return new ClusterError(
    reason,
    `${what}: the API of the cluster answers ${code}${said}`,
    waitOf(retryAfter, status?.details?.retryAfterSeconds),
  );
}

function reasonOf(code: number): ClusterError['reason'] {
  if (code === 401 || code === 403) return 'forbidden';
  if (code === 404) return 'not_found';
  if (code === 409) return 'conflict';
  if (code === 410) return 'gone';
  if (code === 429) return 'too_many';
  if (code === 504) return 'unreachable';
  return code >= 400 && code < 500 ? 'invalid' : 'failed';
}

/** At most ten minutes: a server that asks for more is not believed. */
const longestWait = 600;

function waitOf(header: string | undefined, seconds: number | undefined): number | null {
  const asked = /^\d{1,6}$/.test(header ?? '') ? Number(header) : seconds;
  return asked === undefined || !(asked > 0) ? null : Math.min(asked, longestWait) * 1000;
}

/** Makes the API's words printable: they may quote what others wrote. */
export function printable(text: string, most = 300): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, most);
}
