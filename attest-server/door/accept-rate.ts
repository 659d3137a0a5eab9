import { LRUCache } from 'lru-cache';
import { atMost } from '../wire/at-most.ts';
import { Rate } from '../wire/rate.ts';
import { type HitBound, inAll, type SourceBounds } from './bounds.ts';

/** How many sources are remembered, each with what it may still open. */
const mostSources = 8192;

interface SourceRate {
  readonly rate: Rate;
  /** Of these connections, those for which it counts as a newcomer. */
  readonly first: Rate;
  /** And of the others, those for which it floods nobody. */
  readonly light: Rate;
  /** Of a known one: those that may come to nothing. Each that proves itself is given back. */
  readonly unproven: Rate;
}

/**
 * How fast connections are taken, decided before anything was done for them. Each source has a rate of its own.
 * Strangers' sources share one beside it, but the first connections of a source have another: whoever floods from some
 * addresses keeps out nobody from elsewhere.
 */
export class AcceptRate {
  readonly #each: { readonly burst: number; readonly perSecond: number };
  readonly #now: () => number;
  readonly #strangers: Rate;
  readonly #newcomers: Rate;
  readonly #proven: Rate;
  readonly #sources = new LRUCache<string, SourceRate>(atMost(mostSources));
  /** Sources from which somebody proved himself, and until when they count so. */
  readonly #known = new LRUCache<string, number>(atMost(mostSources));

  constructor({ perSecond }: Pick<SourceBounds, 'perSecond'>, now: () => number) {
    this.#each = { burst: 2 * perSecond, perSecond };
    this.#now = now;
    this.#strangers = new Rate(inAll.strangers, now());
    this.#newcomers = new Rate(inAll.newcomers, now());
    this.#proven = new Rate(inAll.proven, now());
  }

  /** @returns the bound that it hit; null if the connection may come in */
  take(name: string): Extract<HitBound, 'rate' | 'rate_in_all'> | null {
    const now = this.#now();
    let source = this.#sources.get(name);
    if (source === undefined) {
      source = {
        rate: new Rate(this.#each, now),
        first: new Rate(inAll.newcomers.each, now),
        light: new Rate(inAll.light, now),
        unproven: new Rate(unprovenOf(this.#each.perSecond), now),
      };
      this.#sources.set(name, source);
    }
    if (!source.rate.take(now)) return 'rate';
    // Attack: the owner of an enrolled node, whose address is known by it, has handshakes made without end.
    const isKnown = now < (this.#known.get(name) ?? 0);
    if (isKnown && source.unproven.take(now)) return null;
    const isLight = source.light.take(now);
    if (isKnown) return this.#proven.take(now, isLight ? 0 : inAll.proven.spared) ? null : 'rate';
    const spared = isLight ? 0 : inAll.strangers.spared;
    const mayEnter =
      (source.first.take(now) && this.#newcomers.take(now)) || this.#strangers.take(now, spared);
    return mayEnter ? null : 'rate_in_all';
  }

  /** Somebody from there proved himself. */
  prove(name: string): void {
    this.know(name);
    this.#sources.get(name)?.unproven.refund(1);
  }

  /** Somebody who did is there, or leaves. */
  know(name: string): void {
    this.#known.set(name, this.#now() + inAll.knownFor);
  }
}

/** A fleet behind one address has as many under way at a time, and goes on as they prove themselves. */
function unprovenOf(perSecond: number): { readonly burst: number; readonly perSecond: number } {
  return { burst: perSecond, perSecond: perSecond / 16 };
}
