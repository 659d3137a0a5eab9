import { inSteps } from '../../protocol/in-steps.ts';
import type { MeasuredBoot, Proven } from '../../verify/proven.ts';
import type { Answer, AttestedNode } from '../answer.ts';
import type { AnswerProof } from '../answer-proof.ts';
import type { GivenSupplement, KeptSupplement, LackingAnswer, Supplement } from './supplement.ts';

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
export class SupplementedAnswer {
  readonly #list: readonly Supplement[];
  readonly #shown: ProvenAnswer;
  readonly #given: (GivenSupplement | null)[];
  #wait: string | null = null;
  #asks = false;

  constructor(list: readonly Supplement[], shown: ProvenAnswer) {
    this.#list = list;
    this.#shown = shown;
    this.#given = [...shown.held];
  }

  /** Of those for which others may have to be waited for; null where there are none to take. True: the node is asked for more first. */
  takeBefore(at: number): Promise<boolean> | null {
    const lacking = this.#lacking(nowhere, at);
    let taking: Promise<boolean> | null = null;
    for (const [index, one] of this.#list.entries()) {
      if (one.waits !== true) continue;
      if (taking === null) taking = this.#take(index, lacking);
      else taking = taking.then((more) => more || this.#take(index, lacking) || false);
    }
    return taking;
  }

  /** Takes the others in the node's turn, and proves the whole. Null: the node is asked for more first. */
  async whole(rules: Ahead, at: number): Promise<WholeAnswer | null> {
    const lacking = this.#lacking(rules.judgedTo, at);
    try {
      for (const [index, one] of this.#list.entries()) {
        const taking = one.waits === true ? null : this.#take(index, lacking);
        if (taking === null || !(await taking)) continue;
        // Nothing is judged yet, and what came of the others is at hand then.
        for (const [other, given] of this.#given.entries())
          if (given !== null && other !== index) this.#list[other]?.keep?.(lacking.node.name, given);
        return null;
      }
      const proven = await this.#prove(rules);
      const kept: KeptSupplement[] = [];
      for (const given of this.#given) {
        const one = given === null ? null : await keptOf(given, proven);
        if (one !== null) kept.push(one);
      }
      return { proven, kept, wait: this.#wait, asks: this.#asks };
    } finally {
      for (const given of this.#given) given?.done?.();
    }
  }

  /** Null where there is nothing to take; true where the node is asked for more first. */
  #take(index: number, lacking: LackingAnswer): Promise<boolean> | null {
    const { answer, held } = this.#shown;
    const one = this.#list[index]!;
    const taking = one.take(lacking, answer.supplements?.[one.name], held[index] ?? null);
    return (
      taking?.then((taken) => {
        if (taken.is === 'more') return true;
        this.#given[index] = taken.given;
        if (taken.is === 'wait') {
          this.#wait ??= taken.why;
          this.#asks ||= taken.asks;
        }
        return false;
      }) ?? null
    );
  }

  #lacking(judgedTo: () => string | null, at: number): LackingAnswer {
    const { node, answer, proof, first } = this.#shown;
    return {
      node,
      connection: answer.channel,
      proven: first,
      boot: () => this.#boot(),
      bootWith: (given) => proof.bootWith(first, [given]),
      judgedTo,
      at,
    };
  }

  #boot(): MeasuredBoot | null {
    const { proof, first } = this.#shown;
    return this.#isOther ? proof.bootWith(first, this.#given) : first.boot;
  }

  /** Whether something is given that the answer was not proven with. */
  get #isOther(): boolean {
    return this.#given.some((given, index) => {
      const before = this.#shown.held[index]?.part?.digest;
      return given?.list !== undefined || given?.part?.digest !== before;
    });
  }

  async #prove({ ahead }: Ahead): Promise<Proven> {
    const { proof, first } = this.#shown;
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
    if ((first.boot?.initrds.length ?? 0) > 0) await inSteps(proof.chargedSteps(ahead(first)));
    return first;
  }
}

const nowhere = () => null;

async function keptOf(
  { name, part, files, kept }: GivenSupplement,
  proven: Proven,
): Promise<KeptSupplement | null> {
  if (kept !== undefined) return kept(proven);
  if (part === null) return null;
  const blobs = Array.from(files, ([digest, bytes]) => ({ digest, bytes }));
  return { name, part, tail: null, blobs, isLong: false };
}
