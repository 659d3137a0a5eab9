import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import { ClusterError } from '../marking/ports.ts';
import { Rate } from '../protocol/rate.ts';
import type { Requests } from './requests.ts';

/** Whose token it is, as the API says. */
export interface TokenUser {
  readonly username: string;
  readonly uid: string;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

export interface TokenReviewParts {
  readonly requests: Pick<Requests, 'json'>;
  /** Agents and people wait for each other nowhere. */
  readonly lane: 'agents' | 'people';
  /** Milliseconds of a clock that nobody sets. */
  readonly monotonic: () => number;
}

/** Anybody may send tokens: so many are looked at, at once and a second, of one source and in all. */
const bounds = {
  ofSource: { burst: 64, perSecond: 8 },
  inAll: { burst: 2048, perSecond: 100 },
  sources: 4096,
} as const;
/** Milliseconds for which an answer counts. A token that was taken back counts for no longer. */
const keptFor = { good: 60_000, bad: 10_000 } as const;
const most = 16_384;

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

interface Held {
  readonly at: number;
  readonly answer: Promise<TokenUser | null>;
  /** Once it is there. */
  isGood: boolean | null;
}

/** Asks the API whose tokens these are. What is held of a token is its digest. */
export class TokenReviews {
  readonly #requests: TokenReviewParts['requests'];
  readonly #lane: TokenReviewParts['lane'];
  readonly #monotonic: () => number;
  readonly #held = new LRUCache<string, Held>({ max: most });
  readonly #sources = new LRUCache<string, Rate>({ max: bounds.sources });
  readonly #inAll: Rate;

  constructor({ requests, lane, monotonic }: TokenReviewParts) {
    this.#requests = requests;
    this.#lane = lane;
    this.#monotonic = monotonic;
    this.#inAll = new Rate(bounds.inAll, monotonic());
  }

  /**
   * @param audience for whom the token must be; null: the API
   * @param source from where it comes
   * @returns null where the API does not vouch for it
   * @throws ClusterError where it gave no answer, or was not asked because too much is asked
   */
  async whoseIs(token: string, audience: string | null, source: string): Promise<TokenUser | null> {
    const now = this.#monotonic();
    const key = hash('sha256', `${audience ?? ''}\0${token}`, 'hex');
    const held = this.#held.get(key);
    if (held !== undefined && now - held.at < keptFor[held.isGood === false ? 'bad' : 'good'])
      return held.answer;
    const answer = this.#turn(source).then(() => this.#ask(token, audience));
    const entry: Held = { at: now, answer, isGood: null };
    this.#held.set(key, entry);
    try {
      const user = await answer;
      entry.isGood = user !== null;
      return user;
    } catch (error) {
      // No answer is no answer: the next one asks again.
      if (this.#held.peek(key) === entry) this.#held.delete(key);
      throw error;
    }
  }

  async #turn(source: string): Promise<void> {
    const now = this.#monotonic();
    let ofSource = this.#sources.get(source);
    if (ofSource === undefined) {
      ofSource = new Rate(bounds.ofSource, now);
      this.#sources.set(source, ofSource);
    }
    if (!ofSource.take(now))
      throw new ClusterError('too_many', `too many tokens came from ${source}: come again later`);
    if (!this.#inAll.take(now))
      throw new ClusterError('too_many', 'too many tokens are to be looked at: come again later');
  }

  async #ask(token: string, audience: string | null): Promise<TokenUser | null> {
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
        lane: this.#lane,
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
    if (!authenticated || user == null || user.username === '') return null;
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
