import type { Doubt } from '../formats/marking.ts';
import { breakerWindow } from './breaker.ts';

/** Of the wall clock against one that nobody sets, in milliseconds: references and verdicts end by the first. */
const clockStep = 30_000;
/** Answers in a row that were no success: one alone says nothing. */
const failuresInRow = 3;

/** Whether API, clock or version are in doubt. Moments are monotonic milliseconds. */
export class Doubts {
  #offset: number | null = null;
  #clockUntil = Number.NEGATIVE_INFINITY;
  readonly #upgradeUntil: number;
  #failures = 0;

  /** @param upgradedFor milliseconds since this version first ran on this store; null: it is the first there */
  constructor(upgradedFor: number | null, at: number) {
    this.#upgradeUntil = upgradedFor === null ? Number.NEGATIVE_INFINITY : at + breakerWindow - upgradedFor;
  }

  /** To be called often. @param wall milliseconds since the epoch */
  look(wall: number, at: number): void {
    const offset = wall - at;
    if (this.#offset !== null && Math.abs(offset - this.#offset) > clockStep)
      this.#clockUntil = at + breakerWindow;
    this.#offset = offset;
  }

  /** The API answered as it should, or did not: a conflict is an answer. */
  answered(isWell: boolean): void {
    this.#failures = isWell ? 0 : this.#failures + 1;
  }

  now(at: number): readonly Doubt[] {
    const found: Doubt[] = [];
    if (this.#failures >= failuresInRow) found.push('api');
    if (at < this.#clockUntil) found.push('clock');
    if (at < this.#upgradeUntil) found.push('upgrade');
    return found;
  }
}
