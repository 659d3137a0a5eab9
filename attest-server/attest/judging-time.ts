import { spentText } from '../protocol/judging-share.ts';
import { Rejection } from '../protocol/rejection.ts';

/** Judgements of one node: so many at once, which is an agent that starts again and again, and so many a second. */
const judgements = { burst: 60, perSecond: 1 };
/** Milliseconds of our time: for a first boot log and a first list of files of any length, and so many a second. */
const time = { burst: 2_000, perSecond: 10 };
/** Who has spent so much of it, has all that it sends take turns. */
const busyFrom = 100;
/** A server that asks more often expects as much more: shares of what one challenge may cost. */
const perChallenge = { judgements: 2, time: 10 };

interface Account {
  judgements: number;
  time: number;
  /** When both were last counted up, and when it was last judged. */
  at: number;
  judgedAt: number;
}

/**
 * What judging one node may cost, over all its connections and wherever they come from. It is charged from where a quote verifies
 * under the node's own key, so that nobody spends a node's share in its name. A node that has spent it is asked no more often than a
 * silent one. Milliseconds throughout.
 */
export class JudgingTime {
  readonly #challengeEvery: number;
  readonly #monotonic: () => number;
  readonly #rate: { readonly judgements: number; readonly time: number };
  readonly #accounts = new Map<string, Account>();

  /** @param challengeEvery from one challenge of a node to the next */
  constructor(challengeEvery: number, monotonic: () => number) {
    this.#challengeEvery = challengeEvery;
    this.#monotonic = monotonic;
    this.#rate = {
      judgements: Math.max(judgements.perSecond / 1000, perChallenge.judgements / challengeEvery),
      time: Math.max(time.perSecond / 1000, perChallenge.time / challengeEvery),
    };
  }

  /** Until this node may be asked for evidence: 0 where it may be now. */
  wait(node: string): number {
    const account = this.#accounts.get(node);
    if (account === undefined) return 0;
    const now = this.#monotonic();
    this.#countUp(account, now);
    const lacking = Math.max(
      (1 - account.judgements) / this.#rate.judgements,
      -account.time / this.#rate.time,
    );
    return Math.max(0, Math.min(lacking, account.judgedAt + this.#challengeEvery - now));
  }

  /**
   * An answer of this node is judged. @throws Rejection `too_large` where others came before it, on other connections, and the share
   * is spent
   * @param took to find that it is this node's
   */
  admit(node: string, took: number): void {
    const wait = this.wait(node);
    if (wait > 0) throw new Rejection('too_large', spentText(node, wait));
    const now = this.#monotonic();
    const account = this.#accounts.get(node) ?? {
      judgements: judgements.burst,
      time: time.burst,
      at: now,
      judgedAt: now,
    };
    account.judgements -= 1;
    account.time -= took;
    account.judgedAt = now;
    this.#accounts.set(node, account);
  }

  /** Does what is charged to the node, whatever comes of it. */
  charged<T>(node: string, work: () => T): T {
    const started = performance.now();
    try {
      return work();
    } finally {
      this.#charge(node, performance.now() - started);
    }
  }

  /** The same in steps, without what comes in between. */
  *chargedSteps<T>(node: string, work: Generator<void, T>): Generator<void, T> {
    for (;;) {
      const step = this.charged(node, () => work.next());
      if (step.done === true) return step.value;
      yield;
    }
  }

  /** What is left to this node; of one that was never judged all of it. */
  left(node: string): number {
    return this.#accounts.get(node)?.time ?? time.burst;
  }

  /** Whether it cost much lately. */
  isBusy(node: string): boolean {
    return this.left(node) < time.burst - busyFrom;
  }

  /** How many nodes have spent their share. */
  get spent(): number {
    let spent = 0;
    for (const node of this.#accounts.keys()) if (this.wait(node) > 0) spent += 1;
    return spent;
  }

  /** The node is none any more. */
  forget(node: string): void {
    this.#accounts.delete(node);
  }

  #charge(node: string, took: number): void {
    const account = this.#accounts.get(node);
    // Debts end: it is not longer in them than it took to spend what it had.
    if (account !== undefined) account.time = Math.max(-time.burst, account.time - took);
  }

  #countUp(account: Account, now: number): void {
    const passed = Math.max(0, now - account.at);
    account.at = now;
    account.judgements = Math.min(judgements.burst, account.judgements + passed * this.#rate.judgements);
    account.time = Math.min(time.burst, account.time + passed * this.#rate.time);
  }
}
