import type { ResourceRequest } from './api-request.ts';
import { ApiError, conflict, forbidden, internalError, staleObject, tooManyRequests } from './status.ts';
import { administrator, type User } from './users.ts';

/** What goes wrong, with which requests, and how often. Empty conditions: all requests. */
export interface Fault {
  readonly verbs?: readonly string[];
  /** Plural. */
  readonly resource?: string;
  readonly subresource?: string;
  /** Name of a user; default: all but the administrator, by whom tests look and prepare. */
  readonly user?: string;
  /** Only every n-th of them, beginning with the first. */
  readonly every?: number;
  /** Only so many; then it is over. */
  readonly times?: number;
  readonly effect: Effect;
}

export type Effect =
  /** Milliseconds before it is handled. */
  | { readonly kind: 'latency'; readonly ms: number }
  /** Handled, and answered so many milliseconds later. */
  | { readonly kind: 'hang'; readonly ms: number }
  | { readonly kind: 'too_many'; readonly retryAfterSeconds: number }
  | { readonly kind: 'failed' }
  | { readonly kind: 'forbidden' }
  | { readonly kind: 'unavailable' }
  /** As if somebody else had written in between. */
  | { readonly kind: 'conflict' }
  /** The connection ends without an answer. */
  | { readonly kind: 'drop' }
  /** It is done, and the connection ends without an answer. */
  | { readonly kind: 'drop_answer' };

interface Active {
  readonly fault: Fault;
  seen: number;
  left: number;
}

/** Faults that are switched on and off while the server runs. */
export class Faults {
  readonly #active = new Set<Active>();

  add(fault: Fault): Disposable {
    const active = { fault, seen: 0, left: fault.times ?? Number.POSITIVE_INFINITY };
    this.#active.add(active);
    return { [Symbol.dispose]: () => this.#active.delete(active) };
  }

  clear(): void {
    this.#active.clear();
  }

  /** Those that strike this request, in the order in which they were added. */
  strike(user: User, request: ResourceRequest | null): readonly Effect[] {
    const struck: Effect[] = [];
    for (const active of this.#active) {
      const { fault } = active;
      if (!isMeant(fault, user, request)) continue;
      const isTurn = active.seen % (fault.every ?? 1) === 0;
      active.seen += 1;
      if (!isTurn || active.left === 0) continue;
      active.left -= 1;
      struck.push(fault.effect);
    }
    return struck;
  }
}

/** The answer that an effect gives; null where it gives none. */
export function errorOf(effect: Effect, request: ResourceRequest | null): ApiError | null {
  const { group = '', resource = '', name = '' } = request ?? {};
  const named = { group, resource, name };
  switch (effect.kind) {
    case 'too_many':
      return tooManyRequests(effect.retryAfterSeconds);
    case 'failed':
      return internalError('etcdserver: request timed out');
    case 'unavailable':
      return new ApiError(503, 'ServiceUnavailable', 'the server is currently unable to handle the request');
    case 'forbidden':
      return forbidden(named, 'not now');
    case 'conflict':
      return conflict(named, staleObject);
    default:
      return null;
  }
}

function isMeant(fault: Fault, user: User, request: ResourceRequest | null): boolean {
  const { verbs, resource, subresource } = fault;
  if (fault.user === undefined ? user.name === administrator.name : fault.user !== user.name) return false;
  if (verbs !== undefined && (request === null || !verbs.includes(request.verb))) return false;
  if (resource !== undefined && resource !== request?.resource) return false;
  return subresource === undefined || subresource === request?.subresource;
}
