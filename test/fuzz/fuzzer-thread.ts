import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parentPort } from 'node:worker_threads';
import { Corpus } from './corpus.ts';
import { Coverage } from './coverage.ts';
import type { Bounds, Finding } from './finding.ts';
import { type ParserList, parserOf } from './fuzzed-parser.ts';
import { type Counts, Fuzzer } from './fuzzer.ts';
import { InputSlot } from './input-slot.ts';
import { Random } from './random.ts';
import { type ReachedOfSource, reachedOf } from './reached.ts';

/** What the thread of a parser is given; what is not guided may follow another one there. */
export interface FuzzerTask {
  /** URL of a module that exports a `ParserList` as `parsers`, and the name of one. */
  readonly list: string;
  readonly parser: string;
  readonly seed: string;
  readonly corpus: string;
  /** Inputs that showed something in earlier runs, if they are to be parsed again; and where those of this one go. */
  readonly regressions: string | null;
  readonly findings: string;
  readonly isGuided: boolean;
  /** It ends with whichever comes first. */
  readonly until: { readonly milliseconds: number; readonly inputs: number };
  readonly bounds: Bounds;
  readonly slot: SharedArrayBuffer;
}

/** What it says at its begin, some times a second, and at its end. */
export interface FuzzerNews {
  readonly isEnd: boolean;
  readonly milliseconds: number;
  readonly counts: Counts;
  readonly findings: readonly Finding[];
  /** At the end of a guided run alone. */
  readonly reached: readonly ReachedOfSource[];
}

const root = join(import.meta.dirname, '../..');
Error.stackTraceLimit = 24;
parentPort?.on('message', fuzz);

async function fuzz(task: FuzzerTask): Promise<void> {
  const counted = new Set<string>();
  // Never this program itself, nor packages.
  const isCounted = (path: string) =>
    (/^(?:agent|attest-server|manifests)\//.test(path) && !path.includes('node_modules')) ||
    counted.has(path);
  using coverage = task.isGuided ? new Coverage(`${pathToFileURL(root).href}/`, isCounted) : null;
  // Only now: V8 counts what is loaded after it was told to.
  const { parsers }: { parsers: ParserList } = await import(task.list);
  const parser = await parserOf(parsers, task.parser);
  for (const source of parser.sources) counted.add(source);
  const slot = new InputSlot(task.slot);
  const fuzzer = new Fuzzer({
    parser,
    corpus: new Corpus(task.corpus),
    coverage,
    random: new Random(task.seed),
    slot,
    bounds: task.bounds,
    regressions: task.regressions,
    findings: task.findings,
  });

  const began = performance.now();
  const say = (isEnd: boolean) => {
    const news: FuzzerNews = {
      isEnd,
      milliseconds: performance.now() - began,
      counts: fuzzer.counts,
      findings: fuzzer.findings,
      reached: isEnd && coverage !== null ? reachedOf(coverage, root, parser.sources) : [],
    };
    parentPort?.postMessage(news);
  };
  await fuzzer.begin();
  say(false);
  let said = performance.now();
  while (
    !slot.isStopped &&
    performance.now() - began < task.until.milliseconds &&
    fuzzer.counts.inputs < task.until.inputs
  ) {
    await fuzzer.step();
    if (performance.now() - said < 200) continue;
    said = performance.now();
    say(false);
  }
  say(true);
}
