/** So many losses of trust within an hour are flapping. */
const lossesOfFlapping = 3;
const within = 3_600_000;
/** For which a node that flaps must keep its trust before it has its marks back, in milliseconds. */
const settlesIn = 5 * 60_000;

/**
 * Whether a node keeps what it gains. To lose trust is told at once, always; to have it back takes a while for a node that
 * loses it again and again, so that neither the API nor pods go to and fro with it.
 */
export class Steadiness {
  /** When trust was lost latest, and since when it is there: monotonic milliseconds. */
  #losses: number[] = [];
  #since: number | null = null;
  #isKnown = false;

  /** To be called for each judgement, in order. */
  note(isTrusted: boolean, at: number): void {
    if (isTrusted) this.#since ??= at;
    else {
      if (this.#isKnown && this.#since !== null)
        this.#losses = [...this.#losses, at].slice(-lossesOfFlapping);
      this.#since = null;
    }
    this.#isKnown = true;
  }

  /** Until when a trusted node has to wait; null if it need not. */
  settlesAt(at: number): number | null {
    const first = this.#losses.at(-lossesOfFlapping);
    if (this.#since === null || first === undefined || this.#since - first > within) return null;
    const end = this.#since + settlesIn;
    return at < end ? end : null;
  }
}
