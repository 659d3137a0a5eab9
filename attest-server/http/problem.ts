import { STATUS_CODES } from 'node:http';
import type { Problem, ProblemCode } from '../api/problem.ts';
import { faultText, type StorageCause, storageCauseOf } from '../formats/server-fault.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import { Rejection } from '../wire/rejection.ts';
import { type ApiRole, allows, type Caller, verbOf } from './roles.ts';

/** A request that cannot be served, with what the caller may know of it. */
export class HttpProblem extends Error {
  override readonly name: string = 'HttpProblem';
  readonly status: number;
  readonly code: ProblemCode;
  /** Part of the request that is wrong. */
  readonly field: string | undefined;
  /** Advice for a person; a line indented by two blanks is a command. */
  readonly next: string | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    detail: string,
    more: {
      code?: ProblemCode;
      field?: string;
      next?: string;
      headers?: Readonly<Record<string, string>>;
    } = {},
  ) {
    super(detail);
    this.status = status;
    this.code = more.code ?? usualCodes[status] ?? 'internal_error';
    this.field = more.field;
    this.next = more.next;
    this.headers = more.headers ?? {};
  }
}

/** The code of a problem that has no narrower one. */
const usualCodes: Readonly<Record<number, ProblemCode>> = {
  400: 'bad_request',
  401: 'token_rejected',
  403: 'role_denied',
  404: 'not_found',
  405: 'method_not_allowed',
  409: 'conflict',
  413: 'too_large',
  415: 'unsupported_media_type',
  429: 'busy',
};

/** A caller who may not do this: who it was goes into the audit log, not into the answer. */
export class Denial extends HttpProblem {
  override readonly name = 'Denial';
  override readonly code: ReasonCode;
  /** `token:alice`, or `address:192.0.2.1` where no token is valid. */
  readonly actor: string;

  constructor(
    status: 401 | 403,
    detail: string,
    more: { code: ReasonCode; actor: string; next?: string; headers?: Readonly<Record<string, string>> },
  ) {
    super(status, detail, more);
    this.code = more.code;
    this.actor = more.actor;
  }
}

/** @throws Denial if this caller may not do what needs that role */
export function checkRole(caller: Caller, role: Exclude<ApiRole, 'none'>): void {
  if (allows(caller.role, role)) return;
  throw new Denial(403, `this needs the role ${role}; ${caller.name} has the role ${caller.role}`, {
    code: 'role_denied',
    actor: caller.name,
    next: caller.name.startsWith('kubernetes:')
      ? `Whoever administers the cluster grants it: the verb ${verbOf[role]} on attestations.assay.dev, by a ClusterRole`
      : `Use a token of that role. Whoever has the role admin makes one:\n  assay token create --name NAME --role ${role}`,
  });
}

/**
 * Problem to answer for an error: a problem as it is, a Rejection by its code, a full queue as 429, storage that fails
 * as 507 or 503, the API of a cluster as 502, anything else as a bare 500.
 */
export function problemOf(error: unknown, advise: (cause: StorageCause) => string): HttpProblem {
  if (error instanceof HttpProblem) return error;
  if (error instanceof Error && error.name === 'TooManyTrials')
    return new HttpProblem(429, error.message, { headers: { 'retry-after': '2' } });
  if (error instanceof Error && (error.name === 'ClusterError' || error.name === 'UnmarkFailed'))
    return new HttpProblem(502, error.message, { code: 'cluster_failed' });
  if (error instanceof Rejection)
    return new HttpProblem(409, error.message, {
      code: error.code,
      ...(error.next !== undefined && { next: error.next }),
    });
  const cause = storageCauseOf(error);
  if (cause !== null)
    return new HttpProblem(cause === 'disk_full' ? 507 : 503, `nothing is stored: ${faultText(cause)}`, {
      code: 'server_fault',
      next: advise(cause),
    });
  return new HttpProblem(500, 'the server failed; its log says why');
}

/** The body, RFC 9457. */
export function problemBody({ status, message, code, field, next }: HttpProblem): Problem {
  return {
    type: 'about:blank',
    title: STATUS_CODES[status] ?? 'Error',
    status,
    detail: message,
    code,
    ...(field !== undefined && { field }),
    ...(next !== undefined && { next }),
  };
}
