import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { bounds } from './finding.ts';
import { type ParserList, parserOf } from './fuzzed-parser.ts';
import { type FuzzerThreads, fuzzWatched, nothingWatched, type Watched } from './watched-fuzzer.ts';

export interface CampaignOptions {
  /** URL of a module that exports `parsers`, and that list. */
  readonly list: string;
  readonly parsers: ParserList;
  /** Which of them. */
  readonly names: readonly string[];
  readonly milliseconds: number;
  readonly inputs: number;
  /** Parsers at a time. */
  readonly jobs: number;
  readonly seed: string;
  /** Goes on with what earlier runs kept, and counts their time. */
  readonly resumes: boolean;
  readonly isGuided: boolean;
  /** Folder of corpora, and of what has been done. */
  readonly work: string;
  /** Folder with a folder for each parser: inputs that showed something in earlier runs; and the one for new ones. */
  readonly regressions: string;
  readonly findings: string;
  /** Milliseconds until an input that does not end is one. */
  readonly patience: number;
  readonly signal: AbortSignal;
  /** Threads that earlier campaigns left; default: each parser has a new one. */
  readonly threads?: FuzzerThreads;
  readonly note: (line: string) => void;
}

export interface ParserReport extends Watched {
  readonly parser: string;
}

/** Fuzzes some parsers, each for its time, in the order of the list. */
export async function runCampaign(options: CampaignOptions): Promise<readonly ParserReport[]> {
  const queue = [...options.names];
  const reports: ParserReport[] = [];
  const work = async () => {
    for (let name = queue.shift(); name !== undefined && !options.signal.aborted; name = queue.shift())
      reports.push(await fuzzOne(name, options));
  };
  await Promise.all(Array.from({ length: options.jobs }, work));
  return reports.sort((a, b) => options.names.indexOf(a.parser) - options.names.indexOf(b.parser));
}

async function fuzzOne(name: string, options: CampaignOptions): Promise<ParserReport> {
  const folder = join(options.work, name);
  const before = options.resumes ? readDone(folder) : nothingWatched;
  if (!options.resumes) await rm(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const { most } = await parserOf(options.parsers, name);
  let told = performance.now();
  const watched = await fuzzWatched({
    list: options.list,
    parser: name,
    most,
    seed: `${options.seed} ${name} ${before.inputs}`,
    corpus: join(folder, 'corpus'),
    regressions: join(options.regressions, name),
    findings: join(options.findings, name),
    isGuided: options.isGuided,
    bounds,
    until: {
      milliseconds: options.milliseconds - before.milliseconds,
      inputs: options.inputs - before.inputs,
    },
    patience: options.patience,
    signal: options.signal,
    ...(options.threads !== undefined && { threads: options.threads }),
    progress: ({ inputs, findings }) => {
      if (performance.now() - told < 10_000) return;
      told = performance.now();
      options.note(`${name}: ${inputs} inputs, ${findings.length} findings`);
    },
  });
  const all = together(before, watched);
  writeFileSync(join(folder, 'done.json'), `${JSON.stringify(all)}\n`);
  options.note(`${name}: done, ${all.inputs} inputs, ${all.findings.length} findings`);
  return { parser: name, ...all };
}

const reached = z.object({ reached: z.number(), of: z.number() });
const done = z.object({
  inputs: z.number(),
  pastHeader: z.number(),
  accepted: z.number(),
  corpus: z.number(),
  milliseconds: z.number(),
  findings: z.array(
    z.object({
      kind: z.enum(['crash', 'hang', 'growth', 'bloat', 'unsteady']),
      place: z.string(),
      text: z.string(),
      file: z.string().nullable(),
      bytes: z.number(),
    }),
  ),
  reached: z.array(z.object({ source: z.string(), functions: reached, branches: reached, lines: reached })),
});

function readDone(folder: string): Watched {
  try {
    return done.parse(JSON.parse(readFileSync(join(folder, 'done.json'), 'utf8')));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return nothingWatched;
    throw error;
  }
}

/** What was reached is that of the last run: it began with all that was kept. */
function together(before: Watched, now: Watched): Watched {
  const ran = now.inputs > 0;
  const findings = [...before.findings, ...now.findings].filter(
    ({ kind, place }, index, all) =>
      all.findIndex((other) => other.kind === kind && other.place === place) === index,
  );
  return {
    inputs: before.inputs + now.inputs,
    pastHeader: before.pastHeader + now.pastHeader,
    accepted: before.accepted + now.accepted,
    milliseconds: before.milliseconds + now.milliseconds,
    corpus: ran ? now.corpus : before.corpus,
    reached: ran ? now.reached : before.reached,
    findings,
  };
}
