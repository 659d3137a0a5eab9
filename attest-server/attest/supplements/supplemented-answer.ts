import { inSteps } from '../../formats/in-steps.ts';
import type { MeasuredBoot } from '../../verify/measured-boot.ts';
import type { Proven } from '../../verify/proven.ts';
import type { Answer, AttestedNode } from '../answer.ts';
import type { AnswerProof } from '../answer-proof.ts';
import type {
  GivenSupplement,
  KeptSupplement,
  LackingAnswer,
  Supplement,
  TakenSupplement,
} from './supplement.ts';

/** An answer, proven with what was known of its node before. */
export interface ProvenAnswer {
  readonly node: AttestedNode;
  readonly answer: Answer;
  readonly proof: AnswerProof;
  readonly first: Proven;
  /** In the order of the list. */
  readonly held: readonly (GivenSupplement | null)[];
}

/** Work that the active rules, and those that a taint waits for, do ahead of judging. */
export interface Preparation {
  judgedTo(): string | null;
  ahead(proven: Proven): Generator<void>;
}

/** An answer as a whole. */
export interface WholeAnswer {
  readonly proven: Proven;
  readonly kept: readonly KeptSupplement[];
  /** Why something of it is not known, for a person; null if all is. */
  readonly wait: string | null;
  /** The node is asked for the rest at once. */
  readonly asks: boolean;
}

/** One answer, from its proof with what was held to its proof with all that its supplements give: it is verified twice at most. */
export class SupplementedAnswer implements LackingAnswer {
  readonly node: AttestedNode;
  readonly connection: Buffer;
  readonly proven: Proven;
  readonly #list: readonly Supplement[];
  readonly #shown: ProvenAnswer;
  readonly #given: (GivenSupplement | null)[];
  #rules: Pick<Preparation, 'judgedTo'> | null = null;
  #wait: string | null = null;
  #asks = false;

  constructor(list: readonly Supplement[], shown: ProvenAnswer) {
    this.node = shown.node;
    this.connection = shown.answer.channel;
    this.proven = shown.first;
    this.#list = list;
    this.#shown = shown;
    this.#given = [...shown.held];
  }

  /** As what is given by now explains it. */
  boot(): MeasuredBoot | null {
    return this.#isOther ? this.bootWith(...this.#given) : this.proven.boot;
  }

  bootWith(...given: readonly (GivenSupplement | null)[]): MeasuredBoot | null {
    return this.#shown.proof.bootWith(this.proven, given);
  }

  judgedTo(): string | null {
    return this.#rules?.judgedTo() ?? null;
  }

  /** Of those for which others may have to be waited for; null if there are none to take. True: the node is asked for more first. */
  takeBefore(): Promise<boolean> | null {
    let taking: Promise<boolean> | null = null;
    for (let i = 0; i < this.#list.length; i++)
      if (this.#list[i]!.waits === true)
        taking = taking === null ? this.#take(i) : taking.then((more) => more || this.#take(i) || false);
    return taking;
  }

  /**
   * Takes the others in the node's turn, and proves the whole: at once, if nothing is to be taken or added, as with
   * most answers. Null: the node is asked for more first.
   */
  whole(rules: Preparation): WholeAnswer | Promise<WholeAnswer | null> {
    this.#rules = rules;
    for (let i = 0; i < this.#list.length; i++) {
      const taking = this.#list[i]!.waits === true ? null : this.#take(i);
      if (taking !== null) return this.#takeFrom(i, taking, rules);
    }
    if (this.#isOther || this.#hasInitrds) return this.#proveWhole(rules);
    const kept = this.#given.flatMap((one) => (one === null ? [] : (partOf(one) ?? [])));
    return this.#ended(this.proven, kept);
  }

  async #takeFrom(first: number, begun: Promise<boolean>, rules: Preparation): Promise<WholeAnswer | null> {
    try {
      let taking: Promise<boolean> | null = begun;
      for (let i = first; i < this.#list.length; i++) {
        if (i > first) taking = this.#list[i]!.waits === true ? null : this.#take(i);
        if (taking !== null && (await taking)) return this.#keepForNext();
      }
      return await this.#proveWhole(rules);
    } finally {
      for (const one of this.#given) one?.done?.();
    }
  }

  /** Nothing is judged yet, and what came is at hand then. */
  #keepForNext(): null {
    for (let i = 0; i < this.#list.length; i++) {
      const given = this.#given[i] ?? null;
      if (given !== null) this.#list[i]!.keep?.(this.node.name, given);
    }
    return null;
  }

  async #proveWhole(rules: Preparation): Promise<WholeAnswer> {
    const proven = await this.#prove(rules);
    const kept: KeptSupplement[] = [];
    for (const one of this.#given) {
      const its = one?.kept === undefined ? one && partOf(one) : await one.kept(proven);
      if (its !== null) kept.push(its);
    }
    return this.#ended(proven, kept);
  }

  #ended(proven: Proven, kept: readonly KeptSupplement[]): WholeAnswer {
    return { proven, kept, wait: this.#wait, asks: this.#asks };
  }

  /** Null if there is nothing to take; true if the node is asked for more first. */
  #take(index: number): Promise<boolean> | null {
    const { answer, held } = this.#shown;
    const one = this.#list[index]!;
    const taking = one.take(this, answer.supplements?.[one.name], held[index] ?? null);
    return taking === null ? null : this.#taken(index, taking);
  }

  async #taken(index: number, taking: Promise<TakenSupplement>): Promise<boolean> {
    const taken = await taking;
    if (taken.is === 'more') return true;
    this.#given[index] = taken.given;
    if (taken.is === 'wait') {
      this.#wait ??= taken.why;
      this.#asks ||= taken.asks;
    }
    return false;
  }

  /** Whether something is given that the answer was not proven with. */
  get #isOther(): boolean {
    const { held } = this.#shown;
    return this.#given.some((one, index) => {
      const before = held[index] ?? null;
      return one?.list !== undefined || one?.part?.digest !== before?.part?.digest || bringsMore(one, before);
    });
  }

  async #prove({ ahead }: Preparation): Promise<Proven> {
    const { proof } = this.#shown;
    const given = this.#given;
    if (this.#isOther)
      return inSteps(
        (function* () {
          const proven = yield* proof.steps(given);
          yield* proof.judging.chargedSteps(ahead(proven));
          return proven;
        })(),
        () => proof.pause(),
      );
    if (this.#hasInitrds) await inSteps(proof.judging.chargedSteps(ahead(this.proven)));
    return this.proven;
  }

  /** Whether there are initrds. Their contents may be long, and are examined ahead, in steps. */
  get #hasInitrds(): boolean {
    return (this.proven.boot?.initrds.length ?? 0) > 0;
  }
}

/** Of a list that is the one before, what was lost here may have come again. */
function bringsMore(given: GivenSupplement | null, held: GivenSupplement | null): boolean {
  if (given === null || given === held) return false;
  return given.files.keys().some((digest) => held?.files.has(digest) !== true);
}

/** The kept form of a supplement that does not grow; null if no part lists it. */
function partOf({ name, part, files }: GivenSupplement): KeptSupplement | null {
  if (part === null) return null;
  const blobs = Array.from(files, ([digest, bytes]) => ({ digest, bytes }));
  return { name, part, tail: null, blobs, isLong: false };
}
