/**
 * How far the agent has come, which `health-socket` tells to probes at a Unix socket; they ask through
 * `ask-health`.
 */

import type { Health } from './health-socket.ts';

/**
 * Milliseconds in which the life of an agent comes to its next step, whatever the server and the TPM do: waits for them
 * are bounded, a connection is pinged four times a minute, and the longest pause between two attempts is half a minute.
 */
const longestStep = 600_000;
/** A machine without a TPM is refused each minute, and that is all that can be had of it. */
const refusedLately = 180_000;

/** How far the agent's life has come, for those who ask whether it is alive and ready. */
export class Progress {
  readonly #monotonic: () => number;
  readonly #now: () => number;
  #movedAt: number;
  /** By the wall clock: since when a connection stands on which the server judged. */
  #judgedSince: number | null = null;
  #withoutTpmAt = Number.NEGATIVE_INFINITY;
  #why = 'the agent starts';

  /** @param monotonic milliseconds of a monotonic clock @param now since the epoch, for people */
  constructor(monotonic: () => number, now: () => number) {
    this.#monotonic = monotonic;
    this.#now = now;
    this.#movedAt = monotonic();
  }

  /** A step was taken, or something was heard. */
  moved(): void {
    this.#movedAt = this.#monotonic();
  }

  /** The server took what proves this node, and judged it: trusted or not is not the question. */
  judged(): void {
    this.moved();
    this.#judgedSince ??= this.#now();
  }

  /** The server said that it takes no node without a TPM. */
  withoutTpm(): void {
    this.moved();
    this.#withoutTpmAt = this.#monotonic();
  }

  /** No server has this agent at present, and why. */
  disconnected(why: string): void {
    this.moved();
    this.#judgedSince = null;
    this.#why = why;
  }

  look(): Health {
    const now = this.#monotonic();
    const idle = now - this.#movedAt;
    if (idle > longestStep)
      return {
        isAlive: false,
        isReady: false,
        text: `the agent has done nothing for ${Math.round(idle / 1000)} s`,
      };
    if (this.#judgedSince !== null) {
      const since = new Date(this.#judgedSince).toISOString();
      return { isAlive: true, isReady: true, text: `connected and judged since ${since}` };
    }
    if (now - this.#withoutTpmAt < refusedLately)
      return { isAlive: true, isReady: true, text: 'the server knows that this machine has no TPM' };
    return { isAlive: true, isReady: false, text: `not judged: ${this.#why}` };
  }
}
