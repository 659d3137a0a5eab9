import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from './client.ts';
import { readEvents } from './event-stream.ts';

/** Milliseconds between two looks. */
export interface LookIntervals {
  /** While the server tells what changes: reasons may change while the state does not, which is no event. */
  readonly told: number;
  /** While it does not: it is older, restarts, or has no place for one more listener. */
  readonly polled: number;
}

/** The least between two looks, however much changes. */
const apart = 250;

/** When to look at nodes again: after each event, and otherwise after a while. */
export class NodeChanges implements Disposable {
  readonly #intervals: LookIntervals;
  readonly #over = new AbortController();
  readonly #signal: AbortSignal;
  #isTold = false;
  #isDue = false;
  #sleep = new AbortController();

  constructor(client: Client, intervals: LookIntervals, interrupted?: AbortSignal) {
    this.#intervals = intervals;
    this.#signal = AbortSignal.any([this.#over.signal, ...(interrupted === undefined ? [] : [interrupted])]);
    // Why there is no stream is told by the next look, if it is more than an older server.
    this.#listen(client).catch(() => this.#wake(false));
  }

  /** Resolves when it is time to look again. @param within milliseconds, at the latest @throws once interrupted */
  async next(within = Number.POSITIVE_INFINITY): Promise<void> {
    const { told, polled } = this.#intervals;
    const longest = Math.min(within, this.#isTold ? told : polled);
    await delay(Math.min(apart, longest), undefined, { signal: this.#signal });
    if (!this.#isDue) {
      const signal = AbortSignal.any([this.#signal, this.#sleep.signal]);
      await delay(Math.max(0, longest - apart), undefined, { signal }).catch(() =>
        this.#signal.throwIfAborted(),
      );
    }
    this.#isDue = false;
    this.#sleep = new AbortController();
  }

  [Symbol.dispose](): void {
    this.#over.abort();
  }

  async #listen(client: Client): Promise<void> {
    const lost = () => this.#wake(false);
    const options = { filter: {}, after: null, isLive: true, signal: this.#signal, lost };
    // The first block says that it listens; what happened before is looked at once.
    for await (const { data } of readEvents(client, options))
      if (data !== null || !this.#isTold) this.#wake(true);
  }

  #wake(isTold: boolean): void {
    this.#isTold = isTold;
    this.#isDue = true;
    this.#sleep.abort();
  }
}
