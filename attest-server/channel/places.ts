export interface PlaceBounds {
  readonly perSource: number;
  readonly total: number;
  /** Milliseconds during which nobody loses his place to a newer one. */
  readonly keptMs: number;
}

interface Place {
  readonly since: number;
  readonly evict: () => void;
}

/**
 * Places that peers hold until they have shown more of themselves. Where none is left, the source that holds most
 * loses its oldest: whoever fills the room pays for it, and never a peer from elsewhere.
 */
export class Places {
  readonly #bounds: PlaceBounds;
  readonly #bySource = new Map<string, Set<Place>>();
  #taken = 0;

  constructor(bounds: PlaceBounds) {
    this.#bounds = bounds;
  }

  get taken(): number {
    return this.#taken;
  }

  /**
   * @param evict ends whoever holds the place
   * @param now milliseconds of a monotonic clock
   * @returns gives the place back; null where there is none
   */
  take(source: string, evict: () => void, now: number): (() => void) | null {
    if (this.#held(source) >= this.#bounds.perSource && !this.#clear(source, now)) return null;
    if (this.#taken >= this.#bounds.total && !this.#clear(this.#heaviest(source), now)) return null;
    const place = { since: now, evict };
    const places = this.#bySource.get(source) ?? new Set();
    this.#bySource.set(source, places.add(place));
    this.#taken++;
    return () => this.#release(source, place);
  }

  #held(source: string): number {
    return this.#bySource.get(source)?.size ?? 0;
  }

  #clear(source: string, now: number): boolean {
    const [oldest] = this.#bySource.get(source) ?? [];
    if (oldest === undefined || now - oldest.since < this.#bounds.keptMs) return false;
    this.#release(source, oldest);
    oldest.evict();
    return true;
  }

  /** The newcomer's own source, unless another one holds more. */
  #heaviest(newcomer: string): string {
    let [heaviest, most] = [newcomer, this.#held(newcomer)];
    for (const [source, { size }] of this.#bySource) if (size > most) [heaviest, most] = [source, size];
    return heaviest;
  }

  #release(source: string, place: Place): void {
    const places = this.#bySource.get(source);
    if (!places?.delete(place)) return;
    this.#taken--;
    if (places.size === 0) this.#bySource.delete(source);
  }
}
