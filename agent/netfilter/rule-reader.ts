import { faultOf, type NetfilterFault } from './netfilter-fault.ts';
import { type FirewallListing, readRules } from './read-rules.ts';
import type { Netns } from './tools.ts';

/**
 * Reads the rules again each time, one reading after the other. While what is compared stays the same, the bytes do too:
 * what `owned` says is as old as they are, and no part is sent because a service got an endpoint.
 */
export class RuleReader {
  readonly #where: Netns;
  readonly #now: () => number;
  readonly #onOutcome: (outcome: FirewallListing | NetfilterFault) => void;
  #kept: { readonly listing: FirewallListing; readonly at: number } | null = null;
  #current: Promise<FirewallListing> | null = null;
  #next: Promise<FirewallListing> | null = null;
  /** Readings that were started. */
  readings = 0;

  /**
   * @param onOutcome is told of each reading once
   * @param now milliseconds of a monotonic clock
   */
  constructor(
    where: Netns,
    onOutcome: (outcome: FirewallListing | NetfilterFault) => void = () => {},
    now: () => number = () => performance.now(),
  ) {
    this.#where = where;
    this.#onOutcome = onOutcome;
    this.#now = now;
  }

  /** Reads rules as they are after this was called; all who wait share one reading. @throws NetfilterFault */
  read(signal?: AbortSignal): Promise<FirewallListing> {
    if (this.#current === null) return this.#start(signal);
    this.#next ??= this.#current.then(
      () => this.#startNext(signal),
      () => this.#startNext(signal),
    );
    return this.#next;
  }

  #startNext(signal: AbortSignal | undefined): Promise<FirewallListing> {
    this.#next = null;
    return this.#start(signal);
  }

  #start(signal: AbortSignal | undefined): Promise<FirewallListing> {
    this.readings++;
    const reading = this.#read(signal).finally(() => {
      this.#current = null;
    });
    this.#current = reading;
    return reading;
  }

  async #read(signal: AbortSignal | undefined): Promise<FirewallListing> {
    let listing: FirewallListing;
    try {
      listing = this.#steady(await readRules(this.#where, signal));
    } catch (error) {
      const fault = faultOf(error);
      this.#onOutcome(fault);
      throw fault;
    }
    this.#onOutcome(listing);
    return listing;
  }

  #steady(listing: FirewallListing): FirewallListing {
    const kept = this.#kept;
    const isSame = kept?.listing.compared.equals(listing.compared) === true;
    if (isSame && this.#now() - kept.at < ownedForMs) {
      const { bytes, compared } = kept.listing;
      return { ...listing, bytes, compared };
    }
    const steady = isSame ? { ...listing, compared: kept.listing.compared } : listing;
    this.#kept = { listing: steady, at: this.#now() };
    return steady;
  }
}

/** After this, what `owned` says is reported again: each time it costs the server all rules once more. */
export const ownedForMs = 86_400_000;
