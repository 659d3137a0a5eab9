import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import { resourceGroup } from '../formats/marks.ts';
import type { ApiRole } from '../http/roles.ts';
import type { Requests } from './requests.ts';
import { printable } from './status.ts';
import type { TokenReviews, TokenUser } from './token-reviews.ts';

/** People and programs that are known to the cluster. */
export interface Operators {
  /**
   * @param token as it came, of whatever form
   * @returns null if the API does not vouch for it
   * @throws ClusterError if the API gave no answer
   */
  whoIs(token: string, source: string): Promise<Operator | null>;
}

export interface Operator {
  /** As the audit log names it: `kubernetes:alice`. */
  readonly name: string;
  /** `none`: the cluster knows them, and grants nothing here. */
  readonly role: ApiRole;
}

export interface OperatorParts {
  readonly reviews: Pick<TokenReviews, 'whoseIs'>;
  readonly requests: Pick<Requests, 'json'>;
  /** For whom tokens of operators are made; null: for the API itself. */
  readonly audience: string | null;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
}

/** Verbs on the virtual resource `attestations`, the mightiest first. */
const verbs = [
  { verb: 'administer', role: 'admin' },
  { verb: 'operate', role: 'operator' },
  { verb: 'read', role: 'reader' },
] as const;

/** Milliseconds for which an answer counts. */
const keptFor = 60_000;
const most = 1024;

const review = z.object({
  status: z
    .object({ allowed: z.boolean().default(false), denied: z.boolean().default(false) })
    .default({ allowed: false, denied: false }),
});

export function createOperators(parts: OperatorParts): Operators {
  const { reviews, audience, monotonic } = parts;
  const held = new LRUCache<string, { readonly at: number; readonly role: Promise<Operator['role']> }>({
    max: most,
  });
  return {
    async whoIs(token, source) {
      const user = await reviews.whoseIs(token, audience, { source, node: null, isAtHome: false });
      if (user === null) return null;
      const key = hash('sha256', JSON.stringify([user.username, user.uid, user.groups, user.extra]), 'hex');
      const now = monotonic();
      let known = held.get(key);
      if (known === undefined || now - known.at >= keptFor) {
        known = { at: now, role: roleOf(user, parts) };
        held.set(key, known);
      }
      try {
        return { name: `kubernetes:${actorOf(user.username)}`, role: await known.role };
      } catch (error) {
        if (held.peek(key) === known) held.delete(key);
        throw error;
      }
    },
  };
}

async function roleOf(user: TokenUser, { requests }: OperatorParts): Promise<Operator['role']> {
  for (const { verb, role } of verbs) if (await mayDo(user, verb, requests)) return role;
  return 'none';
}

async function mayDo(
  { username, uid, groups, extra }: TokenUser,
  verb: string,
  requests: OperatorParts['requests'],
): Promise<boolean> {
  const answer = await requests.json({
    verb: 'create',
    resource: 'subjectaccessreviews.authorization.k8s.io',
    name: '',
    path: '/apis/authorization.k8s.io/v1/subjectaccessreviews',
    body: {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      spec: {
        user: username,
        uid,
        groups,
        extra,
        resourceAttributes: { group: resourceGroup, resource: 'attestations', verb },
      },
    },
    lane: 'people',
  });
  const status = review.safeParse(answer).data?.status;
  return status?.allowed === true && !status.denied;
}

const longest = 128;
const changed = /~[0-9a-f]{12}$/;

/** Printable and bounded; what is changed for it keeps a part that tells it from others. */
function actorOf(username: string): string {
  const shown = printable(username, longest).replaceAll(' ', '_');
  // Attack: a name that is chosen to be the changed form of another.
  return shown === username && !changed.test(username)
    ? shown
    : `${shown.slice(0, longest - 13)}~${hash('sha256', username, 'hex').slice(0, 12)}`;
}
