import { LRUCache } from 'lru-cache';
import { atMost } from '../wire/at-most.ts';

type KeyPart = string | number | boolean | symbol | null;

/** A value that follows from its key: where two keys are equal, so are the values. */
export interface Keyed<Value> {
  readonly key: readonly KeyPart[];
  readonly value: Value;
}

/** All inputs of a judgement: each member is a word, or stands under a key. */
type Projection<Made> = { readonly [Member in keyof Made]: KeyPart | Keyed<unknown> };

export interface JudgementMemory<Made> {
  /** The slot of a judgement, which holds one: nodes that show the same may share it. Each member is compared as well. */
  readonly slot: (made: Made) => string;
  /** Judgements; of more, those that were used last. 0: none. */
  readonly most: number;
}

export function keyed<Value>(key: readonly KeyPart[], value: Value): Keyed<Value> {
  return { key, value };
}

/** The moment when a judgement is made, which is part of no key: what is remembered keeps it, as the time since when something is seen. */
export function whenMade<Value>(value: Value): Keyed<Value> {
  return { key: noWords, value };
}

/**
 * A judge that remembers. What `project` gives is all that `judge` gets, and all by which a judgement is found again: what is
 * read and not compared does not compile. Null is not remembered.
 */
export function remembering<Shown extends readonly unknown[], Made extends Projection<Made>, Judged>(
  project: (...shown: Shown) => Made,
  judge: (made: Made) => Judged,
  memory: JudgementMemory<Made>,
): (...shown: Shown) => Judged {
  const judgements = new Judgements<Made, Judged>(memory);
  return (...shown) => {
    const made = project(...shown);
    const known = judgements.of(made);
    return known === undefined ? judgements.keep(made, judge(made)) : known;
  };
}

/** The same in steps of some milliseconds, where judging takes long. */
export function rememberingInSteps<Shown extends readonly unknown[], Made extends Projection<Made>, Judged>(
  project: (...shown: Shown) => Made,
  judge: (made: Made) => Generator<void, Judged>,
  memory: JudgementMemory<Made>,
): (...shown: Shown) => Generator<void, Judged> {
  const judgements = new Judgements<Made, Judged>(memory);
  return function* (...shown) {
    const made = project(...shown);
    const known = judgements.of(made);
    return known === undefined ? judgements.keep(made, yield* judge(made)) : known;
  };
}

interface CachedJudgement<Judged> {
  readonly words: readonly KeyPart[];
  readonly judged: Judged;
}

/** By words alone: values may be large, and others let them go. */
class Judgements<Made extends Projection<Made>, Judged> {
  readonly #slot: JudgementMemory<Made>['slot'];
  readonly #bySlot: LRUCache<string, CachedJudgement<Judged>> | null;
  /** Found last: nodes of a fleet are alike. */
  #last: CachedJudgement<Judged> | undefined;

  constructor({ slot, most }: JudgementMemory<Made>) {
    this.#slot = slot;
    this.#bySlot = most === 0 ? null : new LRUCache(atMost(most));
  }

  of(made: Made): Judged | undefined {
    if (this.#last !== undefined && isMadeFrom(made, this.#last.words)) return this.#last.judged;
    const kept = this.#bySlot?.get(this.#slot(made));
    if (kept === undefined || !isMadeFrom(made, kept.words)) return undefined;
    this.#last = kept;
    return kept.judged;
  }

  keep(made: Made, judged: Judged): Judged {
    if (judged !== null) this.#bySlot?.set(this.#slot(made), { words: wordsOf(made), judged });
    return judged;
  }
}

function isMadeFrom<Made extends Projection<Made>>(made: Made, words: readonly KeyPart[]): boolean {
  let at = 0;
  for (const name in made) {
    const member: KeyPart | Keyed<unknown> = made[name];
    if (typeof member !== 'object' || member === null) {
      if (words[at++] !== member) return false;
      continue;
    }
    if (words[at++] !== member.key.length) return false;
    for (const word of member.key) if (words[at++] !== word) return false;
  }
  return true;
}

function wordsOf<Made extends Projection<Made>>(made: Made): readonly KeyPart[] {
  return Object.values<KeyPart | Keyed<unknown>>(made).flatMap((member) =>
    typeof member === 'object' && member !== null ? [member.key.length, ...member.key] : [member],
  );
}

const noWords: readonly KeyPart[] = [];
