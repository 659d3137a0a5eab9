import { Rejection } from '../wire/rejection.ts';

/** Least bytes that a judged answer may need: rows of a verdict, of history and of the audit log. */
const leastBytes = 4096;
/** Bytes that a node may make us keep at once: some hundred answers of honest size. */
const usualBurst = 4 * 1024 * 1024;
/** Bytes a second of one whose state flaps, and bytes of each answer that we ask for by ourselves. */
const perSecond = 4096;
const perChallenge = 64 * 1024;

/**
 * Each change of a verdict is kept, and a node may make changes as often as it likes: how much of our disk one fills is
 * bounded here, far above what an honest one needs. A verdict like the one before takes nothing.
 */
export class DiskBudget {
  readonly #node: string;
  readonly #perMs: number;
  readonly #burst: number;
  #spent = 0;
  /** When that was counted; null before anything was taken. */
  #at: number | null = null;

  /**
   * @param challengeEvery milliseconds from one challenge of a node to the next
   * @param burst bytes that a node may make us keep at once
   */
  constructor(node: string, challengeEvery: number, burst = usualBurst) {
    this.#node = node;
    this.#burst = burst;
    this.#perMs = perSecond / 1000 + perChallenge / challengeEvery;
  }

  /**
   * To be asked before an answer is looked at, which costs more time than to refuse it; nothing is taken.
   * @param at milliseconds since the epoch
   * @throws Rejection `too_large` if the node has filled its share
   */
  check(at: number): void {
    this.#with(leastBytes, at);
  }

  /**
   * To be asked once the answer is proven, where something of it stays: nobody else fills a node's share.
   * @param bytes all that stays, with the rows of history and audit log
   * @throws Rejection `too_large` if the node would fill more than its share; then nothing is taken
   */
  take(bytes: number, at: number): void {
    this.#spent = this.#with(bytes, at);
    this.#at = at;
  }

  #with(bytes: number, at: number): number {
    const regained = this.#at === null ? 0 : Math.max(0, at - this.#at) * this.#perMs;
    const spent = Math.max(0, this.#spent - regained) + bytes;
    if (spent > this.#burst)
      throw new Rejection(
        'too_large',
        `${this.#node} answers too often, or its answers are too large: its share of the disk is full`,
      );
    return spent;
  }
}
