import { bounds } from './bounds.ts';

/**
 * The places of answers that may bring a lot of IMA's list. Whoever finds none goes on in small answers: a fleet that shows all of
 * its lists at once, after an update, must not fill the memory.
 */
export class LongAnswers {
  #free: number = bounds.longAnswers;

  /** Whether there was a place. */
  take(): boolean {
    if (this.#free === 0) return false;
    this.#free -= 1;
    return true;
  }

  leave(): void {
    this.#free += 1;
  }
}
