import { LRUCache } from 'lru-cache';
import type { TokenBearer } from '../enrolment/cluster.ts';
import { atMost } from '../wire/at-most.ts';
import { Rate } from '../wire/rate.ts';

/**
 * How many tokens are looked at, at once and a second. Anybody may send tokens, and the public keys of a node are no secret: whoever
 * shows these from elsewhere uses up nothing of what is left for the place where the node last proved itself.
 */
const bounds = {
  ofSource: { burst: 64, perSecond: 8 },
  /** A node from its own source: as many as the door lets in from there. */
  atHome: { burst: 128, perSecond: 64 },
  /** From elsewhere, since its address may be another one now: from one source, and from all. */
  elsewhere: { burst: 4, perSecond: 0.4 },
  elsewhereInAll: { burst: 64, perSecond: 8 },
  /** Each of the three below. What is spared of them is for whoever shows few. */
  inAll: { burst: 2048, perSecond: 100 },
  spared: 1024,
  few: { ofKnown: { burst: 4, perSecond: 0.05 }, ofSource: { burst: 64, perSecond: 8 } },
  /** Milliseconds for which a source is known by a good token. */
  knownFor: 3_600_000,
} as const;
const most = 4096;
const mostNodes = 16_384;

/** One share each: nobody who has it takes anything from another one. */
class Shares {
  readonly #each: { readonly burst: number; readonly perSecond: number };
  readonly #rates: LRUCache<string, Rate>;

  constructor(each: { readonly burst: number; readonly perSecond: number }, max: number) {
    this.#each = each;
    this.#rates = new LRUCache(atMost(max));
  }

  take(name: string, now: number): boolean {
    const rate = this.#rates.get(name) ?? new Rate(this.#each, now);
    this.#rates.set(name, rate);
    return rate.take(now);
  }
}

/** Whether a token may be reviewed: a share for each bearer, and three for all together, none of which uses up another. */
export class TokenShares {
  readonly #ofSource = new Shares(bounds.ofSource, most);
  readonly #atHome = new Shares(bounds.atHome, mostNodes);
  readonly #elsewhere = new Shares(bounds.elsewhere, most);
  readonly #elsewhereInAll = new Shares(bounds.elsewhereInAll, mostNodes);
  readonly #fewOfKnown = new Shares(bounds.few.ofKnown, mostNodes);
  readonly #fewOfSource = new Shares(bounds.few.ofSource, most);
  readonly #knownSources = new LRUCache<string, number>(atMost(most));
  readonly #good: Rate;
  readonly #known: Rate;
  readonly #strangers: Rate;

  /** @param now monotonic milliseconds, as everywhere here */
  constructor(now: number) {
    this.#good = new Rate(bounds.inAll, now);
    this.#known = new Rate(bounds.inAll, now);
    this.#strangers = new Rate(bounds.inAll, now);
  }

  /**
   * @param wasGood the token was good before
   * @returns whether it may go before others, as it is of somebody who is known and shows few; null if the share of whoever shows
   * it, or of all like him, is used up
   */
  take(bearer: TokenBearer, wasGood: boolean, now: number): 'first' | 'behind' | null {
    if (wasGood) return this.#good.take(now) ? 'first' : null;
    const { source, node, isAtHome } = bearer;
    if (!this.#ofBearer(bearer, now)) return null;
    const knownAt = this.#knownSources.get(source);
    const isKnown = isAtHome || (knownAt !== undefined && now - knownAt < bounds.knownFor);
    // Attack: whoever owns some nodes shows many from each, under its own name or none.
    const isFew = isKnown
      ? this.#fewOfKnown.take(isAtHome ? `node ${node}` : source, now)
      : this.#fewOfSource.take(source, now);
    const spared = isFew ? 0 : bounds.spared;
    if (!(isKnown ? this.#known : this.#strangers).take(now, spared)) return null;
    return isKnown && isFew ? 'first' : 'behind';
  }

  /** A good token came from there. */
  know({ source }: TokenBearer, now: number): void {
    this.#knownSources.set(source, now);
  }

  #ofBearer({ source, node, isAtHome }: TokenBearer, now: number): boolean {
    if (node === null) return this.#ofSource.take(source, now);
    if (isAtHome) return this.#atHome.take(node, now);
    return this.#elsewhere.take(`${node} ${source}`, now) && this.#elsewhereInAll.take(node, now);
  }
}
