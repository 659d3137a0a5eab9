import { relative } from 'node:path';
import { printable } from '../../attest-server/wire/printable.ts';
import type { ParserReport } from './campaign.ts';
import type { Reached } from './coverage.ts';

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

/** A line for each parser and one for all, then what was found. @param root of the project, from which files are named */
export function reportText(reports: readonly ParserReport[], root: string): string {
  const rows = [head, ...reports.map(rowOf), rowOfAll(reports)];
  const widths = head.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const cell = (text: string, column: number) =>
    column === 0 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0);
  const found = reports.flatMap(({ parser, findings }) =>
    findings.map(({ kind, place, text, file, bytes }) => {
      const input = file === null ? 'no input' : `${relative(root, file)} (${bytes} bytes)`;
      return `${kind} in ${parser}: ${printable(place)}: ${printable(text)}\n  ${input}\n`;
    }),
  );
  return [...rows.map((row) => `${row.map(cell).join('  ')}\n`), ...found].join('');
}

/** The table of docs/fuzzing.md. */
export function reportTable(reports: readonly ParserReport[]): string {
  const rows = [...reports.map(rowOf), rowOfAll(reports)].map(([parser = '', ...figures]) => [
    `\`${parser}\``,
    ...figures,
  ]);
  const rule = head.map((_, column) => (column === 0 ? '---' : '---:'));
  return [head, rule, ...rows].map((row) => `| ${row.join(' | ')} |\n`).join('');
}

function rowOf({
  parser,
  inputs,
  milliseconds,
  pastHeader,
  accepted,
  corpus,
  reached,
  findings,
}: ParserReport) {
  return [
    parser,
    String(inputs),
    String(Math.round(inputs / Math.max(1, milliseconds / 1000))),
    share(pastHeader, inputs),
    share(accepted, inputs),
    String(corpus),
    ...(['functions', 'branches', 'lines'] as const).map((what) => shown(reached.map((one) => one[what]))),
    String(findings.length),
  ];
}

/** Sources that several parsers share count once for each. */
function rowOfAll(reports: readonly ParserReport[]): readonly string[] {
  const sum = (take: (report: ParserReport) => number) =>
    reports.reduce((total, report) => total + take(report), 0);
  return rowOf({
    parser: 'all',
    inputs: sum(({ inputs }) => inputs),
    milliseconds: sum(({ milliseconds }) => milliseconds),
    pastHeader: sum(({ pastHeader }) => pastHeader),
    accepted: sum(({ accepted }) => accepted),
    corpus: sum(({ corpus }) => corpus),
    reached: reports.flatMap(({ reached }) => reached),
    findings: reports.flatMap(({ findings }) => findings),
  });
}

const share = (some: number, all: number) => `${Math.round((100 * some) / Math.max(1, all))} %`;

function shown(parts: readonly Reached[]): string {
  const sum = (what: keyof Reached) => parts.reduce((total, part) => total + part[what], 0);
  return `${sum('reached')}/${sum('of')}`;
}
