import type { IncomingMessage, ServerResponse } from 'node:http';
import { URLPattern } from 'node:url';
import { z } from 'zod';
import { parseShape } from './body.ts';
import type { ApiPorts } from './ports.ts';
import type { ApiRole, Caller } from './roles.ts';

export interface RouteRequest<Query> {
  readonly message: IncomingMessage;
  /** Parts of the path that the pattern names, percent-decoded. */
  readonly path: Readonly<Record<string, string>>;
  readonly query: Query;
  /** Who asks; null on routes that ask for no credentials. */
  readonly caller: Caller | null;
}

export interface JsonAnswer {
  readonly status: number;
  readonly body: unknown;
  /** The body as JSON, if it was made before. */
  readonly text?: string;
}

/** An answer that goes on: Server-Sent Events. */
export interface StreamAnswer {
  /** Writes and ends it; the head is sent before. */
  readonly stream: (response: ServerResponse) => void;
}

export type RouteAnswer = JsonAnswer | StreamAnswer;

/** Description of a route; `/openapi.json` is made of it. */
interface RouteDescription {
  /** Unique, and never changed: generated clients have a method of this name. */
  readonly operation: string;
  readonly summary: string;
  /** Of a successful answer; 200 by default. */
  readonly status?: 201 | 202;
  readonly body?: z.ZodType;
  /** Most bytes of its body; `bodyBytes` by default. */
  readonly maxBytes?: number;
  readonly answer?: z.ZodType;
  /** In place of `answer`: the data of each event of a stream. */
  readonly events?: z.ZodType;
  /** Answers of other statuses that are no problems. */
  readonly others?: Readonly<Record<number, z.ZodType>>;
  /** Statuses of problems beside those that each row may answer. */
  readonly problems?: readonly (404 | 409 | 429)[];
  /** It writes much: it is refused while nothing can be stored, and what is kept for that time is not for it. */
  readonly needsRoom?: true;
}

interface DescribedWithQuery<Query extends z.ZodType> extends RouteDescription {
  readonly query: Query;
  readonly handle: (
    ports: ApiPorts,
    request: RouteRequest<z.output<Query>>,
  ) => Promise<RouteAnswer> | RouteAnswer;
}

/** One row of the route table. */
export interface Route extends RouteDescription {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Such as `/v1/nodes/{name}`. */
  readonly path: string;
  readonly pattern: URLPattern;
  /** The least role that may call it. */
  readonly role: ApiRole;
  readonly query: z.ZodType;
  /** @throws HttpProblem 400 for parameters that it does not take */
  readonly handle: (
    ports: ApiPorts,
    request: RouteRequest<Readonly<Record<string, string>>>,
  ) => Promise<RouteAnswer> | RouteAnswer;
}

/** The most that a request's body may have, where a route says nothing else. */
export const bodyBytes = 64 * 1024;
/** A query or a body that has no member. */
export const nothing = z.strictObject({});

/** A row without parameters. Whoever probes may add what it likes. */
export function route(
  method: Route['method'],
  path: string,
  role: ApiRole,
  rest: Omit<DescribedWithQuery<z.ZodType<unknown>>, 'query'>,
): Route {
  return routeWithQuery(method, path, role, {
    ...rest,
    query: role === 'none' ? z.looseObject({}) : nothing,
  });
}

export function routeWithQuery<Query extends z.ZodType>(
  method: Route['method'],
  path: string,
  role: ApiRole,
  { query, handle, ...rest }: DescribedWithQuery<Query>,
): Route {
  return {
    method,
    path,
    role,
    pattern: new URLPattern({ pathname: path.replace(/\{(\w+)\}/g, ':$1') }),
    ...rest,
    query,
    handle: (ports, { message, path: parts, caller, query: given }) =>
      handle(ports, { message, path: parts, caller, query: parseShape(query, given, 'query') }),
  };
}

/** Whether its answer has an `ETag`. */
export function isTagged({ method, role, events }: Route): boolean {
  return method === 'GET' && role !== 'none' && events === undefined;
}

export function ok(body: unknown): JsonAnswer {
  return { status: 200, body };
}

/** Who acts, as the audit log names it. */
export function actorOf(caller: Caller | null): string {
  return callerOf(caller).name;
}

/** @throws Error on a route that asks for no credentials */
export function callerOf(caller: Caller | null): Caller {
  if (caller === null) throw new Error('a route that needs a caller was called without one');
  return caller;
}
