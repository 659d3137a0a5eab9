import { Session } from 'node:inspector';

/** What ran since it was asked before: of each source the ranges, outer ones first, and how often each ran. */
export type Sample = ReadonlyMap<string, readonly SampledFunction[]>;

interface SampledFunction {
  readonly ranges: readonly {
    readonly startOffset: number;
    readonly endOffset: number;
    readonly count: number;
  }[];
}

/** What of a source ran. */
interface Source {
  /** A character that ran is 1. */
  ran: Uint8Array;
  /** Each as its begin and end in one number. */
  readonly functions: Set<number>;
  /** The same of what V8 counts apart from what is around it. */
  readonly branches: Set<number>;
}

export interface Reached {
  readonly reached: number;
  readonly of: number;
}

/**
 * What of our sources ran, by V8's own counters. It counts from its making on, in the thread that made it: sources must be
 * loaded after that. A function that V8 put into another one may be missed while it is hot; one that runs for the first
 * time is not.
 */
export class Coverage implements Disposable {
  readonly #session = new Session();
  readonly #root: string;
  readonly #isCounted: (path: string) => boolean;
  readonly #sources = new Map<string, Source>();
  #scratch = new Uint8Array(0);

  /**
   * @param root URL of a folder, with a slash at its end
   * @param isCounted which sources in it are, by their path from there
   */
  constructor(root: string, isCounted: (path: string) => boolean) {
    this.#root = root;
    this.#isCounted = isCounted;
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** What ran since the last sample; it is not added yet. */
  sample(): Sample {
    const sample = new Map<string, readonly SampledFunction[]>();
    let fault: Error | null = null;
    this.#session.post('Profiler.takePreciseCoverage', (error, found) => {
      fault = error;
      for (const { url, functions } of found?.result ?? [])
        if (url.startsWith(this.#root) && this.#isCounted(url.slice(this.#root.length)))
          sample.set(url.slice(this.#root.length), functions);
    });
    if (fault !== null) throw fault;
    return sample;
  }

  /** True where something ran in it that never ran before. */
  isNews(sample: Sample): boolean {
    for (const [path, functions] of sample) {
      const ran = this.#sources.get(path)?.ran;
      const now = this.#painted(functions);
      if (ran === undefined || ran.length < now.length) return true;
      for (let at = 0; at < now.length; at++) if (now[at] === 1 && ran[at] !== 1) return true;
    }
    return false;
  }

  add(sample: Sample): void {
    for (const [path, functions] of sample) {
      const now = this.#painted(functions);
      const source = this.#sources.get(path) ?? emptySource();
      this.#sources.set(path, source);
      if (source.ran.length < now.length) source.ran = grown(source.ran, now.length);
      for (let at = 0; at < now.length; at++) if (now[at] === 1) source.ran[at] = 1;
      for (const { ranges } of functions)
        for (const [index, { startOffset, endOffset }] of ranges.entries())
          (index === 0 ? source.functions : source.branches).add(startOffset * longestSource + endOffset);
    }
  }

  /** Of one source, from the root: what ran of its functions and branches, and a character each of its text. */
  of(path: string): { readonly functions: Reached; readonly branches: Reached; readonly ran: Uint8Array } {
    const { functions, branches, ran } = this.#sources.get(path) ?? emptySource();
    const reached = (all: ReadonlySet<number>): Reached => ({
      reached: [...all].filter((range) => ran[Math.floor(range / longestSource)] === 1).length,
      of: all.size,
    });
    return { functions: reached(functions), branches: reached(branches), ran };
  }

  [Symbol.dispose](): void {
    this.#session.disconnect();
  }

  /** 1 for what ran, 2 for what is known not to have; inner ranges come after those around them. A view, used again. */
  #painted(functions: readonly SampledFunction[]): Uint8Array {
    const length = functions.reduce((most, { ranges }) => Math.max(most, ranges[0]?.endOffset ?? 0), 0);
    if (this.#scratch.length < length) this.#scratch = new Uint8Array(2 * length);
    const painted = this.#scratch.subarray(0, length).fill(0);
    for (const { ranges } of functions)
      for (const { startOffset, endOffset, count } of ranges)
        painted.fill(count > 0 ? 1 : 2, startOffset, endOffset);
    return painted;
  }
}

const longestSource = 2 ** 24;
const emptySource = (): Source => ({ ran: new Uint8Array(0), functions: new Set(), branches: new Set() });

function grown(bytes: Uint8Array, length: number): Uint8Array {
  const result = new Uint8Array(length);
  result.set(bytes);
  return result;
}
