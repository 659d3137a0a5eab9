import { LRUCache } from 'lru-cache';
import { Rate } from '../protocol/rate.ts';
import { type HitBound, inAll, type SourceBounds } from './bounds.ts';

/** How many sources are remembered, each with what it may still open. */
const mostSources = 8192;

interface Source {
  readonly rate: Rate;
  /** Of these connections, those for which it counts as a newcomer. */
  readonly first: Rate;
  /** And of the others, those for which it floods nobody. */
  readonly light: Rate;
}

/**
 * How fast connections are taken, decided before anything was done for them. Each source has a rate of its own.
 * Strangers' sources share one beside it, but the first connections of a source have another: whoever floods from some
 * addresses keeps out nobody from elsewhere.
 */
export class Pace {
  readonly #each: { readonly burst: number; readonly perSecond: number };
  readonly #now: () => number;
  readonly #strangers: Rate;
  readonly #newcomers: Rate;
  readonly #sources = new LRUCache<string, Source>({ max: mostSources });
  /** Sources from which somebody proved himself, and until when they count so. */
  readonly #known = new LRUCache<string, number>({ max: mostSources });

  constructor({ perSecond }: Pick<SourceBounds, 'perSecond'>, now: () => number) {
    this.#each = { burst: 2 * perSecond, perSecond };
    this.#now = now;
    this.#strangers = new Rate(inAll.strangers, now());
    this.#newcomers = new Rate(inAll.newcomers, now());
  }

  /** @returns the bound that is in the way; null where the connection may come in */
  take(name: string): Extract<HitBound, 'rate' | 'rate_in_all'> | null {
    const now = this.#now();
    let source = this.#sources.get(name);
    if (source === undefined) {
      source = {
        rate: new Rate(this.#each, now),
        first: new Rate(inAll.newcomers.each, now),
        light: new Rate(inAll.light, now),
      };
      this.#sources.set(name, source);
    }
    if (!source.rate.take(now)) return 'rate';
    const spared = source.light.take(now) ? 0 : inAll.strangers.spared;
    const mayEnter =
      now < (this.#known.get(name) ?? 0) ||
      (source.first.take(now) && this.#newcomers.take(now)) ||
      this.#strangers.take(now, spared);
    return mayEnter ? null : 'rate_in_all';
  }

  /** Somebody from there proved himself, or leaves who did. */
  know(name: string): void {
    this.#known.set(name, this.#now() + inAll.knownFor);
  }
}
