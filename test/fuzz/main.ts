import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { type ParserReport, runCampaign } from './campaign.ts';
import { parsers } from './parsers.ts';
import { reportTable, reportText } from './report.ts';

interface Options {
  readonly minutes: number;
  readonly inputs?: number;
  readonly parser: readonly string[];
  readonly jobs: number;
  readonly seed: string;
  readonly resume: boolean;
  readonly guide: boolean;
  readonly output: keyof typeof written;
}

const root = join(import.meta.dirname, '../..');
const names = Object.keys(parsers);

const written = {
  table: (reports: readonly ParserReport[]) => reportText(reports, root),
  json: (reports: readonly ParserReport[]) => `${JSON.stringify(reports)}\n`,
  markdown: reportTable,
} as const;

/** Fuzzes parsers: 0 where nothing was found, 1 where something was, 2 for wrong arguments. */
await new Command('npm run fuzz --')
  .description(
    'Give made inputs to each parser of what comes from outside, and keep those that show a fault.',
  )
  .option('--minutes <n>', 'for each parser', positive, 1)
  .option('--inputs <n>', 'for each parser, where that is less', positive)
  .addOption(new Option('--parser <name...>', 'these alone').choices(names).default(names, 'all'))
  .option('--jobs <n>', 'parsers at a time', positive, Math.min(2, availableParallelism()))
  .option('--seed <text>', 'the same makes the same inputs', 'assay')
  .option('--resume', 'go on where the last run ended: its corpus is kept in .fuzz', false)
  .option('--no-guide', 'make inputs of the recordings alone: faster, and less of each parser is reached')
  .addOption(new Option('-o, --output <format>').choices(Object.keys(written)).default('table'))
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .action(async ({ minutes, inputs, parser, jobs, seed, resume, guide, output }: Options) => {
    const work = join(root, '.fuzz');
    const regressions = join(import.meta.dirname, 'regressions');
    mkdirSync(work, { recursive: true });
    const ending = new AbortController();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort());
    const reports = await runCampaign({
      list: new URL('parsers.ts', import.meta.url).href,
      parsers,
      names: [...new Set(parser)],
      milliseconds: minutes * 60_000,
      inputs: inputs ?? Number.POSITIVE_INFINITY,
      jobs,
      seed,
      resumes: resume,
      isGuided: guide,
      work,
      regressions,
      findings: regressions,
      patience: 10_000,
      signal: ending.signal,
      note: (line) => process.stderr.write(`${line}\n`),
    });
    process.stdout.write(written[output](reports));
    process.exitCode = reports.some(({ findings }) => findings.length > 0) ? 1 : 0;
  })
  .parseAsync();

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('must be a number above 0');
  return value;
}
