import { parseFiles, type Reference } from '../../../formats/reference.ts';
import { diffFiles, type FilesDifference } from '../../../policy/files-diff.ts';
import { printable } from '../../../wire/printable.ts';
import { Rejection } from '../../../wire/rejection.ts';
import { CliError, exit } from '../../exit.ts';
import { shownDigits } from '../../readable.ts';
import { counted, listed } from '../../sentence.ts';

/**
 * Null for references that list no files.
 * @param isForPeople they are shown fewer
 * @throws CliError if the list of one is malformed
 */
export function filesDifference(
  before: Reference,
  after: Reference,
  isForPeople: boolean,
): FilesDifference | null {
  const [old, now] = [filesOf(before), filesOf(after)];
  return old === null || now === null ? null : diffFiles(old, now, isForPeople ? shown.page : shown.json);
}

export function isSameFiles({ added, removed, changed }: FilesDifference): boolean {
  return added + removed + changed === 0;
}

/** The sum, then by package, then the files themselves. */
export function filesPage(difference: FilesDifference): string {
  const { added, removed, changed, packages, morePackages, files, moreFiles } = difference;
  if (isSameFiles(difference)) return '';
  const lines = [
    `${counted(added, 'file')} added, ${removed} removed, ${changed} changed`,
    ...packages.map(packageLine),
    ...(morePackages > 0 ? [`  and ${counted(morePackages, 'package')} more`] : []),
    ...files.map(fileLine),
    ...(moreFiles > 0 ? [`and ${counted(moreFiles, 'file')} more`] : []),
  ];
  return lines.map((line) => `${printable(line)}\n`).join('');
}

/** A list has a hundred thousand files: what differs is bounded, and the rest is a number. */
const shown = { page: { packages: 50, files: 100 }, json: { packages: 1_000, files: 10_000 } };

function filesOf({ name, runtime }: Reference) {
  try {
    return runtime === undefined ? null : parseFiles(runtime);
  } catch (cause) {
    if (!(cause instanceof Rejection)) throw cause;
    throw new CliError(`the list of files of ${name} is faulty: ${cause.message}`, null, exit.error, cause);
  }
}

function packageLine(one: FilesDifference['packages'][number]): string {
  const { name, before, after, added, removed, changed } = one;
  const versions = before.join() === after.join() ? [after] : [before, after];
  const update = versions.map((each) => (each.length === 0 ? '-' : listed(each, 3))).join(' -> ');
  const counts = `${added} added, ${removed} removed, ${changed} changed`;
  return `  ${name === null ? 'files of no package' : `${name} ${update}`}: ${counts}`;
}

function fileLine({ path, before, after }: FilesDifference['files'][number]): string {
  const sign = before.length === 0 ? '+' : after.length === 0 ? '-' : '~';
  const sides = [before, after].filter(({ length }) => length > 0);
  const digests = sides.map((each) => each.map((digest) => digest.slice(0, shownDigits)).join(', '));
  return `${sign} ${path}  ${digests.join(' -> ')}`;
}
