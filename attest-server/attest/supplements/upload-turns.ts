/** How a turn goes: how long it has lasted, in milliseconds, and bytes of the image that came in it. */
export interface UploadTurn {
  readonly lasted: number;
  readonly bytes: number;
}

/** Of a node that never gave its turn up: milliseconds that a turn lasts while others wait, and bytes a second in it. */
const turn = 120_000;
const leastRate = 512 * 1024;
/** Milliseconds before a rate says something. */
const grace = 10_000;
/** A node of this rank has a turn of 64 minutes, at 16 KiB a second. */
const highest = 5;

/**
 * How long one node may send while others wait. Each time that it gives its turn up it ranks behind those who gave up less often, and
 * gets twice the time at half the rate: so a slow line is through in the end, and whoever only holds a place stands in the way of
 * nobody else. Nothing takes a rank back while the server runs, or slow lines would wait for those who come again and again.
 */
export class UploadTurns {
  readonly #ranks = new Map<string, number>();

  /** From 0, for whoever never gave its turn up. */
  rank(node: string): number {
    return this.#ranks.get(node) ?? 0;
  }

  gaveUp(node: string): void {
    this.#ranks.set(node, Math.min(highest, this.rank(node) + 1));
  }

  /** A turn ended by itself. If it lasted for some time, it still kept others waiting. */
  ended(node: string, { lasted }: UploadTurn): void {
    if (lasted > grace) this.gaveUp(node);
  }

  /** Whether it is over. @param rank of the sender, or of a node that waits for it, whichever is lower */
  isOver({ lasted, bytes }: UploadTurn, rank: number): boolean {
    if (lasted >= turn * 2 ** rank) return true;
    return lasted > grace && bytes * 1000 < (leastRate / 2 ** rank) * lasted;
  }

  forget(node: string): void {
    this.#ranks.delete(node);
  }
}
