import { limits } from '../wire/limits.ts';
import { sourceOf } from '../wire/source.ts';
import type { ClusterUsers } from './ports.ts';
import { HttpProblem } from './problem.ts';
import type { Caller } from './roles.ts';

/**
 * Characters of a Bearer token (RFC 6750, section 2.1). Ours begin with `assay.` or `assay-join.`, or have letters,
 * digits, `_` and `-` alone: even one that has expired, or is for another endpoint, is shown to nobody else.
 */
const form = /^Bearer (?!assay(?:-join)?\.)(?=[\w-]*[.~+/])([A-Za-z0-9._~+/-]+=*)$/i;
const longest = 'Bearer '.length + limits.apiToken;

/** People and programs by their token of the cluster. */
export interface ClusterTokens {
  /** Null if the cluster does not vouch for it. @throws HttpProblem if the cluster gave no answer */
  authenticate(authorization: string | undefined, address: string | undefined): Promise<Caller | null>;
}

/** @param users null: the server is in no cluster */
export function createClusterTokens(users: ClusterUsers | null): ClusterTokens {
  return {
    async authenticate(authorization, address) {
      if (authorization === undefined || authorization.length > longest) return null;
      const token = form.exec(authorization)?.[1];
      if (users === null || token === undefined) return null;
      try {
        const user = await users.whoIs(token, sourceOf(address));
        return user && { ...user, expiresAt: null };
      } catch (error) {
        if (!(error instanceof Error) || error.name !== 'ClusterError') throw error;
        const isFlood = 'reason' in error && error.reason === 'too_many';
        throw new HttpProblem(isFlood ? 429 : 503, `nobody could say whose token this is: ${error.message}`, {
          ...(!isFlood && { code: 'server_fault' as const }),
          headers: { 'retry-after': '5' },
          next: 'Try again, or use a token of this server, which needs no cluster:\n  assay --token-file FILE get nodes',
        });
      }
    },
  };
}
