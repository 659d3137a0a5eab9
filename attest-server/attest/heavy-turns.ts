import { Rejection } from '../wire/rejection.ts';

/** Turns that one node waits for: each of its agent and its gate, and one more where one of them has come again. */
const mostOfNode = 3;

/**
 * Turns of work that keeps the one thread for long. One is had at a time, and a rest after each, so that all of it together takes
 * a share of the thread, whoever and how many want it. Of those who wait, the one to whom most of its share is left comes first: an
 * honest node waits for one turn of another one, not for the queue that some make who never stop.
 */
export class HeavyTurns {
  readonly #left: (node: string) => number;
  readonly #restFor: number;
  readonly #waiting: { readonly node: string; readonly begin: () => void }[] = [];
  #isBusy = false;

  /**
   * @param left what is left of a node's share: who has more of it comes first
   * @param restFor after each turn the thread is left to all others for so many times as long
   */
  constructor(left: (node: string) => number, restFor: number) {
    this.#left = left;
    this.#restFor = restFor;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Resolves when it is the node's turn. What it does until it waits for something else is the turn.
   * @throws Rejection `too_large` if the node waits for too many already
   */
  async next(node: string): Promise<void> {
    if (this.#waiting.filter((one) => one.node === node).length >= mostOfNode)
      throw new Rejection(
        'too_large',
        `${node} shows so much on so many connections that the first ones still wait`,
      );
    await new Promise<void>((resolve) => {
      this.#waiting.push({ node, begin: resolve });
      if (!this.#isBusy) this.#begin();
    });
  }

  #begin(): void {
    let first = -1;
    let most = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < this.#waiting.length; i++) {
      const left = this.#left(this.#waiting[i]!.node);
      if (left > most) [first, most] = [i, left];
    }
    const [turn] = first < 0 ? [] : this.#waiting.splice(first, 1);
    this.#isBusy = turn !== undefined;
    if (turn === undefined) return;
    const started = performance.now();
    turn.begin();
    setImmediate(() => {
      const rest = this.#restFor * (performance.now() - started);
      if (rest === 0) this.#begin();
      else setTimeout(() => this.#begin(), rest).unref();
    });
  }
}
