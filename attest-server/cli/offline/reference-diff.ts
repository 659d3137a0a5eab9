import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { EventDifference } from '../../policy/boot/event-diff.ts';
import { diffReferences, type ReferenceDifference } from '../../policy/reference-diff.ts';
import { type Reference, reference } from '../../protocol/reference.ts';
import { formatOf, print } from '../output.ts';
import { printable } from '../printable.ts';
import type { Session } from '../session.ts';
import { type ComponentsDifference, diffComponents } from './boot/component-diff.ts';
import { isReferenceFile, readReference } from './reference-file.ts';

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
        isReferenceFile(which)
          ? readReference(resolve(io.cwd, which))
          : client(command.optsWithGlobals()).get(`/v1/references/${encodeURIComponent(which)}`, reference);
      const [before, after] = [await find(a), await find(b)];
      const difference = { ...diffReferences(before, after), ...diffComponents(before, after) };
      print(io, format, difference, () => page(difference));
    });
}

type Difference = ReferenceDifference & ComponentsDifference;

function page(difference: Difference): string {
  const { pcrs, events, onlyExpected, onlyActual } = difference;
  // Captured ones have events, which tell more than the components made of them.
  const components = events.length > 0 ? [] : difference.components;
  const only = (stages: readonly string[], which: string) =>
    stages.length === 0 ? [] : [`only the ${which} speaks of: ${stages.join(', ')}`];
  const lines = [
    ...(pcrs.length + events.length + components.length === 0 ? ['nothing differs of which both speak'] : []),
    ...pcrs.flatMap(({ bank, pcr, expected, actual }) => [
      `PCR ${pcr} (${bank})`,
      ...sides(expected ?? 'no value', actual ?? 'no value'),
    ]),
    ...events.flatMap(({ pcr, expected, actual }) => [
      `event in PCR ${pcr} (${(actual ?? expected)?.stage ?? 'other'})`,
      ...sides(told(expected), told(actual)),
    ]),
    ...components.flatMap(({ stage, pcr, expected, actual }) => [
      `${stage}${pcr === null ? '' : ` in PCR ${pcr}`}`,
      ...sides(expected ?? 'nothing', actual ?? 'nothing'),
    ]),
    ...only(onlyExpected, 'first'),
    ...only(onlyActual, 'second'),
  ];
  return lines.map((line) => `${printable(line)}\n`).join('');
}

function sides(expected: string, actual: string): readonly string[] {
  return [`  - ${expected}`, `  + ${actual}`];
}

function told(event: EventDifference['expected']): string {
  return event === null ? 'nothing' : `${event.type} ${event.describes}`;
}
