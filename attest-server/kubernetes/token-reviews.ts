import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import type { TokenBearer } from '../enrolment/cluster.ts';
import { ClusterError } from '../marking/ports.ts';
import { atMost } from '../wire/at-most.ts';
import type { Requests } from './requests.ts';
import { TokenShares } from './token-shares.ts';

/** Whose token it is, as the API says. */
export interface TokenUser {
  readonly username: string;
  readonly uid: string;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

export interface TokenReviewParts {
  readonly requests: Pick<Requests, 'json'>;
  /** Agents and people never wait for each other, nor agents for a peer that is unknown or shows many tokens. */
  readonly lane: 'agents' | 'people';
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
}

/** Milliseconds for which an answer counts. A token that was taken back counts for no longer. */
const keptFor = { good: 60_000, bad: 10_000 } as const;
const most = 16_384;
/** Bytes of an answer, and of what is kept of all answers: a user may be in many groups. */
const longest = 256 * 1024;
const mostKept = 16 * 1024 * 1024;
/** RFC 6750, section 2.1. Anything else is shown to nobody: one token would have any number of forms. */
const form = /^[A-Za-z0-9._~+/-]+=*$/;

type ReviewLane = 'agents' | 'strangers' | 'people';

const anonymous = 'system:anonymous';

const review = z.object({
  status: z
    .object({
      authenticated: z.boolean().default(false),
      audiences: z.array(z.string()).nullish(),
      user: z
        .object({
          username: z.string().default(''),
          uid: z.string().default(''),
          groups: z.array(z.string()).nullish(),
          extra: z.record(z.string(), z.array(z.string())).nullish(),
        })
        .nullish(),
    })
    .default({ authenticated: false }),
});

interface CachedReview {
  readonly at: number;
  readonly answer: Promise<TokenUser | null>;
  /** Null until it is there. */
  readonly isGood: boolean | null;
  readonly size: number;
}

/** Asks the API whose tokens these are. What is held of a token is its digest. */
export class TokenReviews {
  readonly #requests: TokenReviewParts['requests'];
  readonly #lane: TokenReviewParts['lane'];
  readonly #monotonic: () => number;
  readonly #held = new LRUCache<string, CachedReview>({
    max: most,
    maxSize: mostKept,
    sizeCalculation: ({ size }) => size,
  });
  readonly #shares: TokenShares;
  /** Digests of tokens that were good. */
  readonly #wereGood = new LRUCache<string, true>(atMost(most));

  constructor({ requests, lane, monotonic }: TokenReviewParts) {
    this.#requests = requests;
    this.#lane = lane;
    this.#monotonic = monotonic;
    this.#shares = new TokenShares(monotonic());
  }

  /**
   * @param audience for whom the token must be; null: the API
   * @returns null if the API does not vouch for it
   * @throws ClusterError if it gave no answer, or was not asked because too much is asked
   */
  async whoseIs(token: string, audience: string | null, bearer: TokenBearer): Promise<TokenUser | null> {
    if (!form.test(token)) return null;
    const now = this.#monotonic();
    const key = hash('sha256', `${audience ?? ''}\0${token}`, 'hex');
    const held = this.#held.get(key);
    if (held !== undefined && now - held.at < keptFor[held.isGood === false ? 'bad' : 'good'])
      return held.answer;
    const answer = this.#turn(key, bearer).then((lane) => this.#ask(token, audience, lane));
    const entry: CachedReview = { at: now, answer, isGood: null, size: 1 };
    this.#held.set(key, entry);
    try {
      const user = await answer;
      if (this.#held.peek(key) === entry)
        this.#held.set(key, { ...entry, isGood: user !== null, size: JSON.stringify(user).length });
      if (user === null) this.#wereGood.delete(key);
      else {
        this.#wereGood.set(key, true);
        this.#shares.know(bearer, now);
      }
      return user;
    } catch (error) {
      // No answer is no answer: the next one asks again.
      if (this.#held.peek(key) === entry) this.#held.delete(key);
      throw error;
    }
  }

  async #turn(key: string, bearer: TokenBearer): Promise<ReviewLane> {
    const turn = this.#shares.take(bearer, this.#wereGood.has(key), this.#monotonic());
    if (turn === null)
      throw new ClusterError(
        'too_many',
        `too many tokens came ${bearer.node === null ? '' : `under the name ${bearer.node} `}from ${bearer.source}, or from all together: come again later`,
      );
    return turn === 'behind' && this.#lane === 'agents' ? 'strangers' : this.#lane;
  }

  async #ask(token: string, audience: string | null, lane: ReviewLane): Promise<TokenUser | null> {
    const answer = review.safeParse(
      await this.#requests.json({
        verb: 'create',
        resource: 'tokenreviews.authentication.k8s.io',
        name: '',
        path: '/apis/authentication.k8s.io/v1/tokenreviews',
        body: {
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'TokenReview',
          spec: { token, ...(audience !== null && { audiences: [audience] }) },
        },
        lane,
        isSecret: true,
        longest,
      }),
    );
    if (!answer.success)
      throw new ClusterError(
        'failed',
        'create tokenreviews: the API of the cluster answers with another kind of object',
        null,
        answer.error,
      );
    const { authenticated, audiences, user } = answer.data.status;
    // An anonymous caller's name identifies nobody.
    if (!authenticated || user == null || user.username === '' || user.username === anonymous) return null;
    // Attack: a token for another audience. An API that knows no audiences answers with none, and does not count.
    if (audience !== null && !(audiences ?? []).includes(audience)) return null;
    return {
      username: user.username,
      uid: user.uid,
      groups: user.groups ?? [],
      extra: user.extra ?? {},
    };
  }
}
