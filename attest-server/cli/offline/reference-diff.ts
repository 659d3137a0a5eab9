import { resolve } from 'node:path';
import type { Command } from 'commander';
import { diffReferences, type ReferenceDifference } from '../../policy/reference-diff.ts';
import { type Reference, reference } from '../../protocol/reference.ts';
import { formatOf, print } from '../output.ts';
import { printable } from '../printable.ts';
import type { Session } from '../session.ts';
import { readReference } from './reference-file.ts';

/** `reference diff A B`: each is a name at the server, or a file; only names need the server. */
export function addReferenceDiff(references: Command, { io, client }: Session): void {
  references
    .command('diff <a> <b>')
    .description(
      'what differs between two references: names at the server, or files (with a / or .json, .yaml)',
    )
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .action(async (a: string, b: string, options: { output: string }, command: Command) => {
      const format = formatOf(options.output, ['table', 'json', 'yaml']);
      const find = async (which: string): Promise<Reference> =>
        isFile(which)
          ? readReference(resolve(io.cwd, which))
          : client(command.optsWithGlobals()).get(`/v1/references/${encodeURIComponent(which)}`, reference);
      const difference = diffReferences(await find(a), await find(b));
      print(io, format, difference, () => page(difference));
    });
}

function isFile(which: string): boolean {
  return which.includes('/') || /\.(json|ya?ml)$/.test(which);
}

function page({ pcrs, events }: ReferenceDifference): string {
  if (pcrs.length === 0) return 'no PCR that both have differs\n';
  const lines = [
    ...pcrs.flatMap(({ bank, pcr, expected, actual }) => [
      `PCR ${pcr} (${bank})`,
      `  - ${expected ?? 'no value'}`,
      `  + ${actual ?? 'no value'}`,
    ]),
    ...events.flatMap(({ pcr, expected, actual }) => [
      `event in PCR ${pcr} (${(actual ?? expected)?.stage ?? 'other'})`,
      `  - ${expected === null ? 'nothing' : `${expected.type} ${expected.describes}`}`,
      `  + ${actual === null ? 'nothing' : `${actual.type} ${actual.describes}`}`,
    ]),
  ];
  return lines.map((line) => `${printable(line)}\n`).join('');
}
