import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { Finding } from './finding.ts';
import { keepFinding } from './fuzzer.ts';
import type { FuzzerNews, FuzzerTask } from './fuzzer-thread.ts';
import { InputSlot } from './input-slot.ts';
import { smallest } from './smaller.ts';

export interface Watched {
  readonly inputs: number;
  readonly pastHeader: number;
  readonly accepted: number;
  readonly corpus: number;
  readonly milliseconds: number;
  readonly findings: readonly Finding[];
  readonly reached: FuzzerNews['reached'];
}

export const nothingWatched: Watched = {
  inputs: 0,
  pastHeader: 0,
  accepted: 0,
  corpus: 0,
  milliseconds: 0,
  findings: [],
  reached: [],
};

export interface WatchedOptions extends Omit<FuzzerTask, 'slot'> {
  /** Longest input of the parser, in bytes. */
  readonly most: number;
  /** Milliseconds after which one input holds its thread for ever. */
  readonly patience: number;
  readonly signal: AbortSignal;
  /** Where a thread that came to its end waits for the next parser; default: each has one of its own. */
  readonly threads?: FuzzerThreads;
  readonly progress: (sofar: Pick<Watched, 'inputs' | 'findings'>) => void;
}

/** Old space of a thread, in MiB: an input that fills it is a finding. */
const mostMemory = 1024;
const mostRestarts = 8;

/** A thread whose modules are loaded already: that is most of what a short run takes. */
export class FuzzerThreads implements AsyncDisposable {
  readonly #idle: Worker[] = [];

  take(): Worker | undefined {
    return this.#idle.pop();
  }

  keep(worker: Worker): void {
    this.#idle.push(worker);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#idle.splice(0).map((worker) => worker.terminate()));
  }
}

/** Fuzzes one parser in a thread that nothing else uses, and begins another one where an input holds or kills it. */
export async function fuzzWatched(options: WatchedOptions): Promise<Watched> {
  let all = nothingWatched;
  for (let restarts = 0; restarts <= mostRestarts; restarts++) {
    const milliseconds = options.until.milliseconds - all.milliseconds;
    const inputs = options.until.inputs - all.inputs;
    if (milliseconds <= 0 || inputs <= 0) break;
    // Not the same inputs again.
    const seed = restarts === 0 ? options.seed : `${options.seed}, ${restarts}`;
    const before = all;
    const { list, parser, corpus, findings, isGuided, bounds } = options;
    // What held the thread may lie among them now.
    const regressions = restarts === 0 ? options.regressions : null;
    const until = { milliseconds, inputs };
    const task = { list, parser, seed, corpus, regressions, findings, isGuided, bounds, until };
    // What it counts is loaded after it began to count.
    const thread = isGuided ? alone(options) : options;
    const ended = await runThread('fuzzer-thread.ts', task, thread, (news) => {
      all = joined(before, news);
      options.progress(all);
    });
    if (ended === null) break;
    const isKnown = all.findings.some(({ kind, place }) => kind === ended.kind && place === wholeThread);
    const found = isKnown ? null : await asFinding(ended, options);
    if (found !== null) all = { ...all, findings: distinct([...all.findings, found]) };
    options.progress(all);
  }
  return all;
}

function joined(before: Watched, { counts, findings, milliseconds, reached }: FuzzerNews): Watched {
  return {
    inputs: before.inputs + counts.inputs,
    pastHeader: before.pastHeader + counts.pastHeader,
    accepted: before.accepted + counts.accepted,
    corpus: counts.corpus,
    milliseconds: before.milliseconds + milliseconds,
    findings: distinct([...before.findings, ...findings]),
    reached,
  };
}

const distinct = (findings: readonly Finding[]): readonly Finding[] => [
  ...new Map(findings.map((finding) => [`${finding.kind} ${finding.place}`, finding])).values(),
];

interface Ended {
  readonly kind: 'hang' | 'bloat' | 'crash';
  readonly text: string;
  readonly input: Buffer;
}

type ThreadOptions = Pick<WatchedOptions, 'most' | 'patience' | 'signal' | 'threads'>;

const alone = ({ most, patience, signal }: ThreadOptions): ThreadOptions => ({ most, patience, signal });

/** Null where it came to its own end; else the input that held the thread, or took all of its memory. */
async function runThread(
  program: string,
  data: object,
  { most, patience, signal, threads }: ThreadOptions,
  news: (news: FuzzerNews) => void,
): Promise<Ended | null> {
  const slot = new InputSlot(most);
  // Kept for the next parser only where it came to its own end.
  let next: FuzzerThreads | undefined;
  const worker = threads?.take() ?? newThread(program);
  const ended = new Promise<null>((resolve) => {
    worker.on('message', (each: FuzzerNews) => {
      news(each);
      if (!each.isEnd) return;
      next = threads;
      resolve(null);
    });
  });
  const stop = () => slot.stop();
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop);
  const watching = new AbortController();
  try {
    const exit: Promise<Ended | null> = once(worker, 'exit', { signal: watching.signal }).then(
      () => null,
      (error: unknown) => {
        if (watching.signal.aborted) return null;
        const input = slot.input;
        if (error instanceof Error && 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY')
          return { kind: 'bloat', text: `more than ${mostMemory} MiB`, input };
        // What was thrown where nobody could catch it, such as in a stream.
        if (slot.turn % 2 === 1) return { kind: 'crash', text: String(error), input };
        throw error;
      },
    );
    worker.postMessage({ ...data, slot: slot.memory });
    const result = await Promise.race([ended, exit, stuckInput(slot, patience, watching.signal)]);
    if (result !== null) next = undefined;
    return result;
  } finally {
    watching.abort();
    signal.removeEventListener('abort', stop);
    worker.removeAllListeners('message');
    if (next === undefined) await worker.terminate();
    else next.keep(worker);
  }
}

function newThread(program: string): Worker {
  const worker = new Worker(new URL(program, import.meta.url), {
    // Types are taken out of sources to count their lines.
    execArgv: ['--disable-warning=ExperimentalWarning'],
    resourceLimits: { maxOldGenerationSizeMb: mostMemory },
  });
  // Whoever watches it hears of an error; one that comes later, while it ends or waits, is nobody else's.
  worker.on('error', () => {});
  return worker;
}

/** Never settles unless an input is parsed for so long. */
async function stuckInput(slot: InputSlot, patience: number, signal: AbortSignal): Promise<Ended> {
  let [turn, since] = [slot.turn, performance.now()];
  for (;;) {
    await sleep(Math.min(250, patience / 4), undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return new Promise(() => undefined);
    const now = slot.turn;
    if (now !== turn || now % 2 === 0) [turn, since] = [now, performance.now()];
    else if (performance.now() - since > patience)
      return { kind: 'hang', text: `no end after ${patience} ms`, input: slot.input };
  }
}

const mostTries = 8;
const wholeThread = 'the thread';

/** Tried alone, in a thread of its own; null where it does not show again. */
async function asFinding({ kind, text, input }: Ended, options: WatchedOptions): Promise<Finding | null> {
  const { list, parser } = options;
  const shows = async (bytes: Buffer): Promise<boolean> =>
    (await runThread('one-input-thread.ts', { list, parser, bytes }, alone(options), () => undefined)) !==
    null;
  if (!(await shows(input))) return null;
  const small = await smallest(input, shows, mostTries);
  const file = keepFinding(options.findings, kind, small);
  return { kind, place: wholeThread, text, file, bytes: small.length };
}
