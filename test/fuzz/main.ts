import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { printable } from '../../attest-server/protocol/printable.ts';
import { type ParserReport, runCampaign } from './campaign.ts';
import type { Reached } from './coverage.ts';
import { parsers } from './parsers.ts';

interface Options {
  readonly minutes: number;
  readonly inputs?: number;
  readonly parser: readonly string[];
  readonly jobs: number;
  readonly seed: string;
  readonly resume: boolean;
  readonly guide: boolean;
  readonly output: 'table' | 'json';
}

const root = join(import.meta.dirname, '../..');
const names = Object.keys(parsers);

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
  .addOption(new Option('-o, --output <format>').choices(['table', 'json']).default('table'))
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
    process.stdout.write(output === 'json' ? `${JSON.stringify(reports)}\n` : table(reports));
    process.exitCode = reports.some(({ findings }) => findings.length > 0) ? 1 : 0;
  })
  .parseAsync();

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('must be a number above 0');
  return value;
}

function table(reports: readonly ParserReport[]): string {
  const rows = reports.map((report) => {
    const sum = (take: (one: ParserReport['reached'][number]) => Reached) =>
      report.reached
        .map(take)
        .reduce((all, one) => ({ reached: all.reached + one.reached, of: all.of + one.of }), {
          reached: 0,
          of: 0,
        });
    const shown = ({ reached, of }: Reached) => `${reached}/${of}`;
    return [
      report.parser,
      String(report.inputs),
      String(Math.round(report.inputs / Math.max(1, report.milliseconds / 1000))),
      `${Math.round((100 * report.pastHeader) / Math.max(1, report.inputs))} %`,
      `${Math.round((100 * report.accepted) / Math.max(1, report.inputs))} %`,
      String(report.corpus),
      shown(sum(({ functions }) => functions)),
      shown(sum(({ branches }) => branches)),
      shown(sum(({ lines }) => lines)),
      String(report.findings.length),
    ];
  });
  const head = [
    'parser',
    'inputs',
    'a second',
    'past header',
    'accepted',
    'kept',
    'functions',
    'branches',
    'lines',
    'found',
  ];
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    `${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0))).join('  ')}\n`;
  const found = reports.flatMap(({ parser, findings }) =>
    findings.map(
      ({ kind, place, text, file, bytes }) =>
        `${kind} in ${parser}: ${printable(place)}: ${printable(text)}\n  ${file === null ? 'no input' : `${relative(root, file)} (${bytes} bytes)`}\n`,
    ),
  );
  return [line(head), ...rows.map(line), ...found].join('');
}
