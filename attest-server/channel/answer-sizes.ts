import {
  type AnsweredSupplement,
  type AnsweredSupplements,
  type SupplementForm,
  type SupplementName,
  supplementForms,
  supplementNames,
} from '../wire/supplements.ts';
import type { LongAnswers } from './long-answers.ts';

/** Of one answer: how it was asked for, and how long it took, in milliseconds. */
export interface AnswerTime {
  readonly within: number;
  readonly took: number;
}

/**
 * How much of each supplement the next answer of one connection may bring: twice as much as the last one where that had more, and
 * was quick. Over a slow line an answer must still come in time.
 */
export class AnswerSizes {
  readonly #places: LongAnswers;
  /** Those that may bring more than at first. */
  #sizes: ReadonlyMap<SupplementName, number> = none;
  /** Has one of the places for a long answer. */
  #isLong = false;

  constructor(places: LongAnswers) {
    this.#places = places;
  }

  /** Of the challenge that goes out now: what needs a place and finds none is small. */
  begin(): (name: SupplementName) => number {
    this.end();
    const wantsPlace = [...this.#sizes.keys()].some((name) => supplementForms[name].takesPlace);
    this.#isLong = wantsPlace && this.#places.take();
    return (name) => {
      const form = supplementForms[name];
      return (form.takesPlace && !this.#isLong ? undefined : this.#sizes.get(name)) ?? form.first;
    };
  }

  /** @param most bytes that the challenge allowed of each */
  judged(supplements: AnsweredSupplements, most: (name: SupplementName) => number, time: AnswerTime): void {
    let sizes: Map<SupplementName, number> | null = null;
    for (const name of supplementNames) {
      const size = sizeAfter(supplementForms[name], supplements[name], most(name), time);
      if (size > supplementForms[name].first) sizes = (sizes ?? new Map()).set(name, size);
    }
    this.#sizes = sizes ?? none;
  }

  /** The answer is judged, or will not come. */
  end(): void {
    if (this.#isLong) this.#places.leave();
    this.#isLong = false;
  }
}

const none: ReadonlyMap<SupplementName, number> = new Map();

function sizeAfter(
  { first, most: largest }: SupplementForm,
  answered: AnsweredSupplement | undefined,
  most: number,
  { within, took }: AnswerTime,
): number {
  if (answered?.came?.more !== true) return first;
  return took > within / 4 ? most : Math.min(2 * most, largest);
}
