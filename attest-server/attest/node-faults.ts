import { LRUCache } from 'lru-cache';
import { atMost } from '../protocol/at-most.ts';
import { type FaultCause, storageCauseOf } from '../protocol/server-fault.ts';

/** An agent that lost its connection is back within 30 s, and quotes. */
const comesBackWithin = 60_000;
const most = 65_536;

/**
 * Of which nodes the latest answer was not judged or stored for a fault of ours. In memory only: it is shown, and never
 * stored. Whoever claims a name without proof can at most have a node that is overdue anyhow say this.
 */
export class NodeFaults {
  readonly #monotonic: () => number;
  readonly #holdsFor: number;
  readonly #faults = new LRUCache<string, { readonly cause: FaultCause; readonly at: number }>(atMost(most));

  /** @param unknownAfter how long a verdict holds, in milliseconds: a node that is silent for longer is so on its own */
  constructor(monotonic: () => number, unknownAfter: number) {
    this.#monotonic = monotonic;
    this.#holdsFor = Math.max(unknownAfter, comesBackWithin);
  }

  note(name: string, error: unknown): void {
    this.#faults.set(name, { cause: storageCauseOf(error) ?? 'internal', at: this.#monotonic() });
  }

  /** Null where the node was judged since, or did not come for so long that it is silent. */
  of(name: string): FaultCause | null {
    const fault = this.#faults.get(name);
    return fault !== undefined && this.#monotonic() < fault.at + this.#holdsFor ? fault.cause : null;
  }

  forget(name: string): void {
    this.#faults.delete(name);
  }
}
