import { type Clock, ClusterError } from './ports.ts';

/** Kinds of requests to the API. Each waits by itself: while marks are refused, a resource may be accepted. */
type RequestKind = 'marks' | 'lists' | 'resources' | 'events';

const first = 1000;
const longest = 60_000;
const longestRetryAfter = 600_000;
/** Of one kind, or with a tenth of all: then it is the API, and no one object. */
const refusedOfAll = 3;

/**
 * How long the API of the cluster is left alone: for as long as it asks; without an answer twice as long each time, and
 * never all at the same moment. One object that it refuses has no other wait, where it is not nearly all that it refuses.
 */
export class ApiBackOff {
  readonly #clock: Pick<Clock, 'monotonic' | 'random'>;
  readonly #kinds = { marks: closing(3), lists: closing(1), resources: closing(1), events: closing(1) };
  /** Marks go before all else: what the API asks of them holds for all that writes. */
  #aloneUntil = Number.NEGATIVE_INFINITY;

  constructor(clock: Pick<Clock, 'monotonic' | 'random'>) {
    this.#clock = clock;
  }

  /** When this kind may be asked for again, in monotonic milliseconds. */
  opensAt(kind: RequestKind): number {
    return Math.max(this.#aloneUntil, this.#kinds[kind].until);
  }

  isOpen(kind: RequestKind): boolean {
    return this.#clock.monotonic() >= this.opensAt(kind);
  }

  /** When one object may be tried again after so many failures of its own in a row. */
  retryAt(failures: number): number {
    const wait = Math.min(longest, first * 2 ** Math.min(failures - 1, 16));
    return this.#clock.monotonic() + wait * (0.8 + 0.4 * this.#clock.random());
  }

  /** In a row. */
  failuresOf(kind: RequestKind): number {
    return this.#kinds[kind].failures;
  }

  answered(kind: RequestKind): void {
    this.#kinds[kind].failures = 0;
  }

  /** It took an object as it should be: what it refused before was no refusal of all. */
  accepted(kind: RequestKind): void {
    this.answered(kind);
    this.#kinds[kind].refused.clear();
  }

  /** There is no such object any more. */
  forget(kind: RequestKind, name: string): void {
    this.#kinds[kind].refused.delete(name);
  }

  /** @param all how many objects there are */
  areManyRefused(kind: RequestKind, all: number): boolean {
    return this.#kinds[kind].refused.size >= Math.max(refusedOfAll, all / 10);
  }

  /**
   * Attack: a node makes its own object such that nothing can be written of it. It waits alone, and closes nothing.
   * @returns whether it is no matter of this one object
   */
  failed(
    kind: RequestKind,
    error: ClusterError,
    of: { readonly name: string; readonly all: number } | null,
  ): boolean {
    const its = this.#kinds[kind];
    const at = this.#clock.monotonic();
    // Requests that were under way when it closed: they fail together, and count once.
    const isLate = !this.isOpen(kind);
    const asked = error.retryAfter === null ? null : at + Math.min(longestRetryAfter, error.retryAfter);
    if (kind === 'marks' && asked !== null) this.#aloneUntil = Math.max(this.#aloneUntil, asked);
    // Others write Nodes all the time.
    if (kind === 'marks' && error.reason === 'conflict') return false;
    if (of !== null && isRefusal(error)) {
      its.refused.add(of.name);
      if (!this.areManyRefused(kind, of.all)) return false;
    }
    if (isLate) return true;
    its.failures += 1;
    if (its.failures >= its.patience) {
      const again = this.retryAt(its.failures - its.patience + 1);
      its.until = Math.max(its.until, kind === 'marks' ? again : (asked ?? again));
    }
    return true;
  }
}

/** The API answered that it does not take this, rather than that it takes nothing at present. A mistake of ours may be a 500. */
export function isRefusal(error: unknown): error is ClusterError {
  return (
    error instanceof ClusterError && ['invalid', 'failed', 'forbidden', 'conflict'].includes(error.reason)
  );
}

/** @param patience failures in a row after which all of a kind waits */
function closing(patience: number) {
  return { patience, failures: 0, until: Number.NEGATIVE_INFINITY, refused: new Set<string>() };
}
