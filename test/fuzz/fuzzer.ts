import { hash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Corpus, filesIn } from './corpus.ts';
import type { Coverage } from './coverage.ts';
import type { Bounds, Finding, FindingKind } from './finding.ts';
import type { FuzzedParser } from './fuzzed-parser.ts';
import type { InputSlot } from './input-slot.ts';
import { mutated } from './mutate/mutate.ts';
import { type Words, wordsIn } from './mutate/words.ts';
import { type Outcome, outcomeOf, outcomeText, ownTime, taken } from './outcome.ts';
import type { Random } from './random.ts';
import { smallest } from './smaller.ts';

export interface FuzzerParts {
  readonly parser: FuzzedParser;
  readonly corpus: Corpus;
  /** Null in a run that is to be quick: then inputs are made of the recordings alone. */
  readonly coverage: Coverage | null;
  readonly random: Random;
  readonly slot: InputSlot;
  readonly bounds: Bounds;
  /** Folder of inputs that showed something in earlier runs; null: they are not parsed. */
  readonly regressions: string | null;
  /** Folder for those of this run. */
  readonly findings: string;
}

export interface Counts {
  readonly inputs: number;
  readonly pastHeader: number;
  readonly accepted: number;
  readonly corpus: number;
}

/** Inputs between two looks at what ran: few while there is much that is new, since then each must be looked at alone. */
const batches = { least: 16, most: 512 };
const mostOutcomes = 512;
const mostFindings = 16;
/** Inputs between two looks at the memory that stays taken. */
const betweenCollections = 16_384;
/** Inputs of which it is looked at how much each leaves behind. */
const mostSuspects = 48;

/**
 * Makes inputs of inputs and gives them to one parser, in the thread that it is called in. What reaches code that nothing
 * reached, or is refused as nothing was, is kept, and others are made of it.
 */
export class Fuzzer {
  readonly #parts: FuzzerParts;
  readonly #seeds: readonly Buffer[];
  readonly #words: Words;
  readonly #outcomes = new Set<string>();
  readonly #found = new Map<string, Finding>();
  readonly #collect: () => void = collector();
  #batch = batches.least;
  #untilCollected = betweenCollections;
  #inputs = 0;
  #pastHeader = 0;
  #accepted = 0;
  #heldAtFirst: number | null = null;

  constructor(parts: FuzzerParts) {
    this.#parts = parts;
    const { seeds, most, form } = parts.parser;
    this.#seeds = seeds().filter(({ length }) => length <= most);
    if (this.#seeds.length === 0) throw new Error(`no recording has ${most} bytes at most`);
    this.#words = wordsIn(this.#seeds, form.words ?? []);
  }

  get counts(): Counts {
    const { corpus } = this.#parts;
    return {
      inputs: this.#inputs,
      pastHeader: this.#pastHeader,
      accepted: this.#accepted,
      corpus: corpus.size,
    };
  }

  get findings(): readonly Finding[] {
    return [...this.#found.values()];
  }

  /** Recordings, and what earlier runs kept: they are parsed, and counted as inputs. */
  async begin(): Promise<void> {
    const { corpus, regressions } = this.#parts;
    const shown = regressions === null ? [] : filesIn(regressions);
    for (const bytes of [...this.#seeds, ...shown, ...corpus.saved()]) {
      await this.#run(bytes);
      await this.#learn(bytes);
    }
  }

  /** One batch of new inputs. */
  async step(): Promise<void> {
    const { corpus, coverage, parser, random } = this.#parts;
    const mutation = { form: parser.form, most: parser.most, words: this.#words, random };
    const unseen: Buffer[] = [];
    const inputs: Buffer[] = [];
    for (let i = 0; i < this.#batch; i++) {
      const bytes = mutated(corpus.pick(random), corpus.pick(random), mutation);
      inputs.push(bytes);
      if (await this.#run(bytes)) unseen.push(bytes);
    }
    const sample = coverage?.sample();
    const isNews = sample !== undefined && coverage?.isNews(sample) === true;
    if (isNews) await this.#locate(inputs, coverage);
    // What did not show again, such as a cache that was filled, would be looked for in each batch.
    if (sample !== undefined) coverage?.add(sample);
    for (const bytes of unseen) await this.#learn(bytes);
    this.#batch = isNews ? Math.max(batches.least, this.#batch / 2) : Math.min(batches.most, this.#batch * 2);
    this.#untilCollected -= inputs.length;
    if (this.#untilCollected > 0) return;
    this.#untilCollected = betweenCollections;
    await this.#checkGrowth(inputs);
  }

  /** Learns those of the inputs that reach something new. */
  async #locate(inputs: readonly Buffer[], coverage: Coverage): Promise<void> {
    for (const bytes of inputs) await this.#parse(bytes);
    if (!coverage.isNews(coverage.sample())) return;
    if (inputs.length === 1) {
      for (const bytes of inputs) await this.#learn(bytes);
      return;
    }
    const half = Math.ceil(inputs.length / 2);
    await this.#locate(inputs.slice(0, half), coverage);
    await this.#locate(inputs.slice(half), coverage);
  }

  /** @returns whether its outcome is one that was not seen yet */
  async #run(bytes: Buffer): Promise<boolean> {
    const heldBefore = taken();
    const before = performance.now();
    const outcome = await this.#parse(bytes);
    const took = performance.now() - before;
    const bytesTaken = taken() - heldBefore;
    this.#inputs++;
    if (outcome.kind === 'value') this.#accepted++;
    if (this.#isPastHeader(outcome)) this.#pastHeader++;
    if (outcome.kind === 'crash') await this.#crashed(bytes, outcome);
    const text = outcomeText(outcome);
    if (took > this.#mostTime(bytes)) await this.#checkTime(bytes, text);
    if (bytesTaken > this.#mostTaken(bytes)) await this.#checkTaken(bytes, text);
    if (outcome.kind === 'crash' || this.#outcomes.has(text) || this.#outcomes.size >= mostOutcomes)
      return false;
    this.#outcomes.add(text);
    return true;
  }

  /** Keeps an input, after a closer look at it. */
  async #learn(bytes: Buffer): Promise<void> {
    const { corpus, coverage } = this.#parts;
    const first = await this.#parse(bytes);
    const outcome = outcomeText(first);
    corpus.add(bytes, this.#isPastHeader(first));
    coverage?.add(coverage.sample());
    const again = outcomeText(await this.#parse(bytes));
    if (again !== outcome) this.#note('unsteady', 'two answers', `${outcome}, then ${again}`, bytes);
  }

  #isPastHeader(outcome: Outcome): boolean {
    return (
      outcome.kind === 'value' ||
      (outcome.kind === 'refused' && this.#parts.parser.isPastHeader(outcome.error))
    );
  }

  /** Who watches learns of it before. */
  async #parse(bytes: Buffer): Promise<Outcome> {
    const { parser, slot } = this.#parts;
    slot.begin(bytes);
    const outcome = await outcomeOf(parser, bytes);
    slot.end();
    return outcome;
  }

  async #crashed(bytes: Buffer, outcome: Outcome): Promise<void> {
    const text = outcomeText(outcome);
    if (this.#found.has(keyOf('crash', text))) return;
    const small = await smallest(bytes, async (less) => outcomeText(await this.#parse(less)) === text);
    const again = await this.#parse(small);
    const message = again.kind !== 'value' && again.error instanceof Error ? again.error.message : text;
    this.#note('crash', text, message, small);
  }

  #mostTime({ length }: Buffer): number {
    const { hang, per } = this.#parts.bounds;
    return hang * Math.max(1, length / per);
  }

  /** What another program took is not the parser's. */
  async #checkTime(bytes: Buffer, place: string): Promise<void> {
    if (this.#found.has(keyOf('hang', place))) return;
    const isSlow = async (input: Buffer) => (await ownTime(() => this.#parse(input))) > this.#mostTime(input);
    if (!(await isSlow(bytes))) return;
    const until = performance.now() + 5_000;
    const small = await smallest(bytes, async (less) => performance.now() < until && (await isSlow(less)));
    const took = await ownTime(() => this.#parse(small));
    this.#note('hang', place, `${Math.round(took)} ms`, small);
  }

  #mostTaken({ length }: Buffer): number {
    const { bloat, bloatPerByte } = this.#parts.bounds;
    return bloat + bloatPerByte * length;
  }

  async #checkTaken(bytes: Buffer, place: string): Promise<void> {
    if (this.#found.has(keyOf('bloat', place))) return;
    const takes = async (input: Buffer) => {
      const before = taken();
      await this.#parse(input);
      return taken() - before;
    };
    const isTooMuch = async (input: Buffer) => (await takes(input)) > this.#mostTaken(input);
    if (!(await isTooMuch(bytes))) return;
    const small = await smallest(bytes, isTooMuch);
    this.#note('bloat', place, `${Math.round((await takes(small)) / 1024 / 1024)} MiB for one input`, small);
  }

  async #checkGrowth(inputs: readonly Buffer[]): Promise<void> {
    const { bounds } = this.#parts;
    let held = this.#held();
    this.#heldAtFirst ??= held;
    if (held - this.#heldAtFirst < bounds.growth) return;
    // V8 and zlib give buffers back in the background, which comes late on a busy machine.
    for (let look = 0; look < looks; look++) {
      await delay(backgroundMs);
      held = this.#held();
      if (held - this.#heldAtFirst < bounds.growth) return;
    }
    let worst: { readonly bytes: Buffer; readonly more: number } = {
      bytes: Buffer.alloc(0),
      more: Number.NEGATIVE_INFINITY,
    };
    for (const bytes of inputs.slice(0, mostSuspects)) {
      const before = this.#held();
      for (let times = 0; times < 32; times++) await this.#parse(bytes);
      const more = this.#held() - before;
      if (more > worst.more) worst = { bytes, more };
    }
    const text = `${Math.round((held - this.#heldAtFirst) / 1024 / 1024)} MiB stay taken`;
    this.#note('growth', 'memory', text, worst.bytes);
    this.#heldAtFirst = held;
  }

  /** Bytes that are in use after a collection, in this thread, less what is kept on purpose. */
  #held(): number {
    this.#collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external - this.#parts.corpus.bytes;
  }

  #note(kind: FindingKind, place: string, text: string, bytes: Buffer): void {
    const key = keyOf(kind, place);
    if (this.#found.has(key) || this.#found.size >= mostFindings) return;
    const file = keepFinding(this.#parts.findings, kind, bytes);
    this.#found.set(key, { kind, place, text: text.slice(0, 400), file, bytes: bytes.length });
  }
}

const backgroundMs = 500;
const looks = 6;

const keyOf = (kind: FindingKind, place: string) => `${kind} ${place}`;

/** @returns its path */
export function keepFinding(folder: string, kind: FindingKind, bytes: Buffer): string {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${kind}-${hash('sha256', bytes, 'hex').slice(0, 12)}`);
  writeFileSync(file, bytes);
  return file;
}

function collector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc');
}
