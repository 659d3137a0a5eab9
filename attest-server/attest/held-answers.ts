import { Rejection } from '../wire/rejection.ts';

/**
 * Bytes of heavy answers, from where their quotes are their nodes' own until they are judged: they wait for turns meanwhile, and
 * the connection that brought one may be long gone.
 */
const mostBytes = 16 * 1024 * 1024;

/**
 * A bound for all. Where it is met, a node may still have one that has cost little lately, or has more left of its share than all
 * that have some: an honest node with a long list is judged beside those who never stop.
 */
export class HeldAnswers {
  readonly #left: (node: string) => number;
  readonly #counts = new Map<string, number>();
  readonly #most: number;
  readonly #least: number;
  #bytes = 0;

  /**
   * @param left what is left of a node's share
   * @param least bytes from which an answer is a long one: shorter ones add nothing that would have to be bounded
   */
  constructor(left: (node: string) => number, least: number, most: number = mostBytes) {
    this.#left = left;
    this.#most = most;
    this.#least = least;
  }

  /**
   * Holds them while this work is done. A short one has room whatever others hold.
   * @param isBusy the node has cost much lately
   * @throws Rejection `too_large` if there is no room for a long one, and whatever the work throws
   */
  async during<T>(node: string, bytes: number, isBusy: boolean, work: () => Promise<T>): Promise<T> {
    const count = this.#counts.get(node) ?? 0;
    const isOver = bytes >= this.#least && this.#bytes + bytes > this.#most;
    if (isOver && (count > 0 || (isBusy && !this.#hasMostLeft(node))))
      throw new Rejection(
        'too_large',
        `what waits to be judged leaves no room for another long answer of ${node}`,
      );
    this.#counts.set(node, count + 1);
    this.#bytes += bytes;
    try {
      return await work();
    } finally {
      this.#bytes -= bytes;
      const left = (this.#counts.get(node) ?? 1) - 1;
      if (left === 0) this.#counts.delete(node);
      else this.#counts.set(node, left);
    }
  }

  #hasMostLeft(node: string): boolean {
    const left = this.#left(node);
    return this.#counts.keys().every((other) => this.#left(other) < left);
  }
}
