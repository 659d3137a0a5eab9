import { resolve } from 'node:path';
import { type Reference, reference } from '../../formats/reference.ts';
import type { EventDifference } from '../../policy/boot/event-diff.ts';
import { describedReference } from '../../policy/described-reference.ts';
import { unifiedDiff } from '../../policy/line-diff.ts';
import { diffReferences, type ReferenceDifference } from '../../policy/reference-diff.ts';
import { pcrBanks } from '../../wire/messages.ts';
import { printable } from '../../wire/printable.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { type Format, print } from '../output.ts';
import { withShortDigests } from '../readable.ts';
import { type ComponentsDifference, diffComponents } from './boot/component-diff.ts';
import { isReferenceFile, readReference } from './reference-file.ts';
import { filesDifference, filesPage, isSameFiles } from './runtime/files-diff.ts';

/**
 * `reference diff A B`: each is a name at the server, or a file; only names need the server. Exits 10 where they differ, also
 * where one speaks of a stage that the other leaves out.
 */
export async function showReferenceDiff(
  { io, server, exitWith }: CliContext,
  a: string,
  b: string,
  format: Format,
): Promise<void> {
  const find = async (which: string): Promise<Reference> =>
    isReferenceFile(which)
      ? readReference(resolve(io.cwd, which))
      : (await server()).get(`/v1/references/${encodeURIComponent(which)}`, reference);
  const [before, after] = [await find(a), await find(b)];
  if (before.kind !== after.kind)
    throw new CliError(
      `${before.name} is a reference of kind ${before.kind}, and ${after.name} of kind ${after.kind}`,
      'Compare two references of the same kind.',
    );
  if (before.kind !== 'boot') {
    const diff = unifiedDiff(describedReference(before), describedReference(after));
    const files = filesDifference(before, after, format === 'table');
    const isSame = diff.length === 0 && (files === null || isSameFiles(files));
    const shown = { kind: before.kind, diff, ...(files !== null && { files }) };
    await print(io, format, shown, () =>
      isSame ? sameForAll : `${linesPage(before, after, diff)}${files === null ? '' : filesPage(files)}`,
    );
    exitWith(isSame ? exit.ok : exit.untrusted);
    return;
  }
  const difference = {
    ...diffReferences(before, after),
    ...diffComponents(before, after),
    demanded: demandedOnly(before, after),
  };
  await print(io, format, difference, () => page(difference));
  exitWith(isSame(difference) ? exit.ok : exit.untrusted);
}

interface FullReferenceDifference extends ReferenceDifference, ComponentsDifference {
  /** Which of both demands boot_aggregate, where the other does not. */
  readonly demanded: 'first' | 'second' | null;
}

function demandedOnly(before: Reference, after: Reference): FullReferenceDifference['demanded'] {
  if (before.aggregate === after.aggregate) return null;
  return before.aggregate === undefined ? 'second' : 'first';
}

function isSame({
  pcrs,
  events,
  components,
  onlyExpected,
  onlyActual,
  demanded,
}: FullReferenceDifference): boolean {
  return (
    demanded === null &&
    [pcrs, events, components, onlyExpected, onlyActual].every(({ length }) => length === 0)
  );
}

const sameForAll = 'Both references say the same.\n';

function linesPage(before: Reference, after: Reference, diff: readonly string[]): string {
  return [`--- ${before.name}`, `+++ ${after.name}`, ...diff].map((line) => `${printable(line)}\n`).join('');
}

function page(difference: FullReferenceDifference): string {
  const { pcrs, events, onlyExpected, onlyActual, demanded } = difference;
  // Captured ones have events, which say more than the components made of them.
  const components = events.length > 0 ? [] : difference.components;
  const only = (stages: readonly string[], which: string) =>
    stages.length === 0 ? [] : [`only in the ${which}: ${stages.join(', ')}`];
  const lines = [
    ...(pcrs.length + events.length + components.length === 0 ? [sameText(difference)] : []),
    ...pcrs.flatMap(({ bank, pcr, expected, actual }) => [
      `PCR ${pcr} (${bank})`,
      ...sides(expected ?? 'no value', actual ?? 'no value'),
    ]),
    ...events.flatMap(({ pcr, expected, actual }) => [
      `event in PCR ${pcr} (${(actual ?? expected)?.stage ?? 'other'})`,
      ...sides(shown(expected), shown(actual)),
    ]),
    ...components.flatMap(({ stage, pcr, expected, actual }) => [
      `${stage}${pcr === null ? '' : ` in PCR ${pcr}`}`,
      ...sides(expected ?? 'nothing', actual ?? 'nothing'),
    ]),
    ...only(onlyExpected, 'first'),
    ...only(onlyActual, 'second'),
    ...(demanded === null ? [] : [`only the ${demanded} demands boot_aggregate of boots like it`]),
  ];
  return lines.map((line) => `${withShortDigests(printable(line))}\n`).join('');
}

function sameText({ onlyExpected, onlyActual }: FullReferenceDifference): string {
  return onlyExpected.length + onlyActual.length === 0
    ? 'Both references say the same.'
    : 'In the stages that both references name they say the same.';
}

function sides(expected: string, actual: string): readonly string[] {
  return [`  - ${expected}`, `  + ${actual}`];
}

function shown(event: EventDifference['expected']): string {
  if (event === null) return 'nothing';
  const bank = pcrBanks.findLast((one) => event.digests[one] !== undefined);
  const digest = bank === undefined ? '' : ` ${bank}:${event.digests[bank]}`;
  return `${event.type} ${event.describes}${digest}`;
}
