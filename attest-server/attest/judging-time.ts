import { spentText } from '../wire/judging-share.ts';
import { Rejection } from '../wire/rejection.ts';

/** Judgements of one node: so many at once, which is an agent that starts again and again, and so many a second. */
const judgements = { burst: 60, perSecond: 1 };
/** Milliseconds of our time: for a first boot log and a first list of files of any length, and so many a second. */
const time = { burst: 2_000, perSecond: 10 };
/** A node that has spent this much has everything that it sends take turns. */
const busyFrom = 100;
/** A server that asks more often expects as much more: shares of what one challenge may cost. */
const perChallenge = { judgements: 2, time: 10 };

/** The same for all nodes. Milliseconds throughout. */
export class JudgingRates {
  readonly challengeEvery: number;
  readonly monotonic: () => number;
  readonly judgements: number;
  readonly time: number;

  /** @param challengeEvery from one challenge of a node to the next */
  constructor(challengeEvery: number, monotonic: () => number) {
    this.challengeEvery = challengeEvery;
    this.monotonic = monotonic;
    this.judgements = Math.max(judgements.perSecond / 1000, perChallenge.judgements / challengeEvery);
    this.time = Math.max(time.perSecond / 1000, perChallenge.time / challengeEvery);
  }
}

/**
 * Time that judging one node may take, over all its connections and wherever they come from. It is charged from where a
 * quote verifies under the node's own key, so that nobody spends a node's share in its name. A node that has spent it
 * is asked no more often than a silent one. Milliseconds throughout.
 */
export class JudgingTime {
  /** Time left to a node that was never judged. */
  static readonly whole = time.burst;
  readonly #node: string;
  readonly #rates: JudgingRates;
  #judgements = judgements.burst;
  #time = time.burst;
  /** When both were last counted up, and when it was last judged. */
  #at: number;
  #judgedAt: number;

  constructor(node: string, rates: JudgingRates) {
    this.#node = node;
    this.#rates = rates;
    this.#at = rates.monotonic();
    this.#judgedAt = Number.NEGATIVE_INFINITY;
  }

  /** Milliseconds until this node may be asked for evidence: 0 if it may be now. */
  get wait(): number {
    const now = this.#rates.monotonic();
    this.#countUp(now);
    const lacking = Math.max((1 - this.#judgements) / this.#rates.judgements, -this.#time / this.#rates.time);
    return Math.max(0, Math.min(lacking, this.#judgedAt + this.#rates.challengeEvery - now));
  }

  /**
   * An answer of this node is judged. @throws Rejection `too_large` if others came before it, on other connections, and the share
   * is spent
   * @param took to find that it is this node's
   */
  admit(took: number): void {
    const { wait } = this;
    if (wait > 0) throw new Rejection('too_large', spentText(this.#node, wait));
    this.#judgements -= 1;
    this.#time -= took;
    this.#judgedAt = this.#rates.monotonic();
  }

  /** Does what is charged to the node, whatever comes of it. */
  charged<T>(work: () => T): T {
    const started = performance.now();
    try {
      return work();
    } finally {
      this.#charge(performance.now() - started);
    }
  }

  /** The same in steps, without what comes in between. */
  *chargedSteps<T>(work: Generator<void, T>): Generator<void, T> {
    for (;;) {
      const step = this.charged(() => work.next());
      if (step.done === true) return step.value;
      yield;
    }
  }

  get left(): number {
    return this.#time;
  }

  /** Whether it took much time lately. */
  get isBusy(): boolean {
    return this.#time < time.burst - busyFrom;
  }

  #charge(took: number): void {
    // Debts end: it is not longer in them than it took to spend what it had.
    this.#time = Math.max(-time.burst, this.#time - took);
  }

  #countUp(now: number): void {
    const passed = Math.max(0, now - this.#at);
    this.#at = now;
    this.#judgements = Math.min(judgements.burst, this.#judgements + passed * this.#rates.judgements);
    this.#time = Math.min(time.burst, this.#time + passed * this.#rates.time);
  }
}
