import { atOnce } from '../formats/in-steps.ts';
import type { MeasuredBoot } from '../verify/measured-boot.ts';
import type { Proven } from '../verify/proven.ts';
import type { Verifier } from '../verify/verifier.ts';
import type { SignedAnswer } from '../verify/verify.ts';
import type { Part, PartName, Parts } from '../wire/evidence.ts';
import { giveBackLong } from '../wire/own-bytes.ts';
import {
  type Answer,
  type AttestedNode,
  evidenceWith,
  expectedOf,
  type GivenSupplements,
  quotesOf,
} from './answer.ts';
import { arrivedBytes, readBytes } from './answer-size.ts';
import { HeavyTurns } from './heavy-turns.ts';
import { HeldAnswers } from './held-answers.ts';
import { JudgingRates, JudgingTime } from './judging-time.ts';
import type { OwnedNodes } from './owned-nodes.ts';
import type { AttestPorts } from './ports.ts';

/** Bytes that must be read, and of a log with all that is remembered of its events: from these on an answer is heavy. */
const heavy = { bytes: 128 * 1024, reading: 512 * 1024 };
/** Rest after a turn, by its length: all of them together take a third of the thread. */
const restFor = 2;
/** Milliseconds that bytes took before anybody looked at them: to decrypt, and to put together. */
const perByte = 2 / (1024 * 1024);

/** From an answer whose quotes are the node's own to its proof. All of that is charged to the node. */
export class AnswerProof {
  readonly #node: string;
  /** Of its node. */
  readonly judging: JudgingTime;
  readonly #signed: SignedAnswer;
  readonly #parts: Parts;
  readonly #shared: Pick<ProofsShared, 'turns' | 'steps' | 'held'>;
  readonly #bytes: number;
  /** It keeps the thread for long, so that it needs a turn. */
  readonly isHeavy: boolean;

  /** @param parts those of the answer, with the bytes of all that need some */
  constructor(
    node: string,
    judging: JudgingTime,
    signed: SignedAnswer,
    answer: Answer,
    parts: Parts,
    shared: ProofsShared,
  ) {
    this.#node = node;
    this.judging = judging;
    this.#signed = signed;
    this.#parts = parts;
    this.#shared = shared;
    this.#bytes = arrivedBytes({ ...answer, parts });
    this.isHeavy =
      judging.isBusy ||
      readBytes(parts, answer) >= heavy.bytes ||
      readingOf(parts, shared.verifier) >= heavy.reading;
  }

  /** With what the server adds. @throws Rejection as `verify` */
  with(given: GivenSupplements): Proven {
    const work = this.#signed.provenInSteps(evidenceWith(this.#parts, given));
    return this.judging.charged(() => atOnce(work));
  }

  /** The same, in steps. @throws Rejection as `verify` */
  steps(given: GivenSupplements): Generator<void, Proven> {
    return this.judging.chargedSteps(this.#signed.provenInSteps(evidenceWith(this.#parts, given)));
  }

  /** The answer's boot as measured with these files, to see what is still lacking. It proves nothing. @throws Rejection as `verify` */
  bootWith(proven: Proven, given: GivenSupplements): MeasuredBoot | null {
    return this.judging.charged(() => this.#signed.bootWith(proven, evidenceWith(this.#parts, given)));
  }

  /** Runs work on a heavy answer while counting its bytes. @throws Rejection `too_large` if too much waits already */
  whileHeld<T>(work: () => Promise<T>): Promise<T> {
    return this.#shared.held.during(this.#node, this.#bytes, this.judging.isBusy, work);
  }

  /** Resolves when the node may keep the thread for long. @throws Rejection `too_large` if it waits for too many turns */
  turn(): Promise<void> {
    return this.#shared.turns.next(this.#node);
  }

  /** Between two steps: those of all lists take turns, else the thread is away for one of each. */
  pause(): Promise<void> {
    return this.#shared.steps.next(this.#node);
  }
}

interface ProofsShared {
  readonly verifier: Verifier;
  readonly turns: HeavyTurns;
  /** Of work that stops after some milliseconds: others come in between anyhow. */
  readonly steps: HeavyTurns;
  readonly held: HeldAnswers;
}

/** Begins the proofs of all nodes, and has none of them take the time of the others. */
export class AnswerProofs {
  readonly #nodes: OwnedNodes;
  readonly #shared: ProofsShared;
  readonly #rates: JudgingRates;
  readonly #budgetsOf: AttestPorts['evidence']['budgetsOf'];

  constructor(nodes: OwnedNodes, verifier: Verifier, { evidence, challengeEvery, monotonic }: AttestPorts) {
    this.#nodes = nodes;
    const left = (name: string) => nodes.get(name)?.judging?.left ?? JudgingTime.whole;
    const [turns, steps] = [new HeavyTurns(left, restFor), new HeavyTurns(left, 0)];
    this.#shared = { verifier, turns, steps, held: new HeldAnswers(left, heavy.bytes) };
    this.#rates = new JudgingRates(challengeEvery, monotonic);
    this.#budgetsOf = (name) => evidence.budgetsOf(name);
  }

  /**
   * Up to the quotes: until they are found to be the node's own nothing is charged to it, and nothing of the answer is looked at.
   * @throws Rejection as `verify`; `too_large` where the node's share of our time is spent, or it sent too many boot logs
   */
  begin(peer: AttestedNode, answer: Answer): (parts: Parts) => AnswerProof {
    const { name, ekDigest } = peer;
    const { parts, supplements = {} } = answer;
    const { boot } = parts;
    const { quotes, facts } = answer.evidence;
    try {
      const started = performance.now();
      const signed = this.#shared.verifier.checkSigned(
        { quotes: quotesOf(quotes), facts, bootLog: boot?.digest ?? null },
        expectedOf(peer, answer),
      );
      const owned = this.#nodes.of(name);
      owned.ekDigest = ekDigest;
      owned.judging ??= new JudgingTime(name, this.#rates);
      const { judging } = owned;
      judging.admit(performance.now() - started + perByte * arrivedBytes(answer));
      // Counted also where it replays: what nothing measures is free to invent.
      if (boot != null && boot.bytes !== null) {
        owned.budgets ??= this.#budgetsOf(name);
        owned.budgets.logs.count(signed.resetCount, boot.digest, boot.bytes.length, this.#rates.monotonic());
      }
      return (complete) => new AnswerProof(name, judging, signed, answer, complete, this.#shared);
    } catch (error) {
      for (const { bytes } of Object.values(parts)) if (bytes !== null) giveBackLong(bytes);
      for (const { came } of Object.values(supplements)) came?.pieces.forEach(giveBackLong);
      throw error;
    }
  }

  /** Milliseconds until the node may be asked. */
  wait(name: string): number {
    return this.#nodes.get(name)?.judging?.wait ?? 0;
  }

  /** How many nodes have spent their share, and how many answers wait for a turn. */
  figures(): { readonly spent: number; readonly waiting: number } {
    let spent = 0;
    for (const { judging } of this.#nodes.all()) if (judging !== null && judging.wait > 0) spent += 1;
    return { spent, waiting: this.#shared.turns.waiting };
  }
}

function readingOf(
  { boot, userSpace }: Readonly<Partial<Record<PartName, Part>>>,
  verifier: Verifier,
): number {
  return boot === undefined ? 0 : verifier.readingSize(boot.digest, userSpace?.digest ?? null);
}
