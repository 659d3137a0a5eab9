import { inSteps } from '../../protocol/in-steps.ts';
import type { MeasuredBoot, Proven } from '../../verify/proven.ts';
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

/** What the rules in force, and those that a taint waits for, look at before they judge. */
export interface Ahead {
  judgedTo(): string | null;
  ahead(proven: Proven): Generator<void>;
}

/** An answer as a whole. */
export interface WholeAnswer {
  readonly proven: Proven;
  readonly kept: readonly KeptSupplement[];
  /** Why something of it is not known, for a person; null where all is. */
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
  #rules: Pick<Ahead, 'judgedTo'> | null = null;
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

  /** Of those for which others may have to be waited for; null where there are none to take. True: the node is asked for more first. */
  takeBefore(): Promise<boolean> | null {
    let taking: Promise<boolean> | null = null;
    for (let i = 0; i < this.#list.length; i++)
      if (this.#list[i]!.waits === true)
        taking = taking === null ? this.#take(i) : taking.then((more) => more || this.#take(i) || false);
    return taking;
  }

  /** Takes the others in the node's turn, and proves the whole. Null: the node is asked for more first. */
  async whole(rules: Ahead): Promise<WholeAnswer | null> {
    this.#rules = rules;
    const given = this.#given;
    try {
      for (let i = 0; i < this.#list.length; i++) {
        const taking = this.#list[i]!.waits === true ? null : this.#take(i);
        if (taking === null || !(await taking)) continue;
        // Nothing is judged yet, and what came of the others is at hand then.
        for (const one of given) if (one !== null) this.#supplementOf(one).keep?.(this.node.name, one);
        return null;
      }
      const proven = await this.#prove(rules);
      const kept: KeptSupplement[] = [];
      for (const one of given) {
        const its = one === null ? null : await keptOf(one, proven);
        if (its !== null) kept.push(its);
      }
      return { proven, kept, wait: this.#wait, asks: this.#asks };
    } finally {
      for (const one of given) one?.done?.();
    }
  }

  /** Null where there is nothing to take; true where the node is asked for more first. */
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
    return this.#given.some(
      (one, index) => one?.list !== undefined || one?.part?.digest !== held[index]?.part?.digest,
    );
  }

  async #prove({ ahead }: Ahead): Promise<Proven> {
    const { proof } = this.#shown;
    const given = this.#given;
    if (this.#isOther)
      return inSteps(
        (function* () {
          const proven = yield* proof.steps(given);
          yield* proof.chargedSteps(ahead(proven));
          return proven;
        })(),
        () => proof.pause(),
      );
    // What initrds hold may be long.
    if ((this.proven.boot?.initrds.length ?? 0) > 0) await inSteps(proof.chargedSteps(ahead(this.proven)));
    return this.proven;
  }

  #supplementOf({ name }: GivenSupplement): Supplement {
    return this.#list.find((one) => one.name === name)!;
  }
}

async function keptOf(
  { name, part, files, kept }: GivenSupplement,
  proven: Proven,
): Promise<KeptSupplement | null> {
  if (kept !== undefined) return kept(proven);
  if (part === null) return null;
  const blobs = Array.from(files, ([digest, bytes]) => ({ digest, bytes }));
  return { name, part, tail: null, blobs, isLong: false };
}
