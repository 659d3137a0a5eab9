import { type Dirent, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { CliContext } from '../../context.ts';
import { CliError, exit, exitOfState } from '../../exit.ts';
import { type Format, print } from '../../output.ts';
import { readFile, unreadable } from '../../read-file.ts';
import { withShortDigests } from '../../readable.ts';
import { table } from '../../table.ts';
import { type BundleJudgement, type BundleVerdict, verifyBundle } from './verify.ts';

/** The worst first: by the first that occurs a folder has its exit code. */
const results = [
  ['bad', exit.untrusted],
  ['no bundle', exit.untrusted],
  ['unreadable', exit.error],
  ['not trusted', exit.notTrusted],
  ['not looked at', exit.notTrusted],
  ['good', exit.ok],
] as const;
type Result = (typeof results)[number][0];

interface JudgedFile {
  readonly file: string;
  readonly result: Result;
  /** Of a bundle that could be judged. */
  readonly verdict: BundleVerdict | null;
  /** For a person: what is wrong, if anything is. */
  readonly text: string | null;
}

/** `verify DIR`: each entry of the folder has its line, also what is no bundle; no file stops the rest. */
export async function judgeFolder(
  { io, exitWith }: CliContext,
  dir: string,
  judgement: BundleJudgement,
  format: Format,
): Promise<void> {
  if (format !== 'table' && format !== 'json' && format !== 'yaml')
    throw new CliError(`-o ${format} takes one bundle, and ${dir} is a folder`, 'Use -o json.', exit.usage);
  const items = entriesOf(dir).map((entry) => judgedEntry(dir, entry, judgement));
  if (items.length === 0)
    throw new CliError(`${dir} is empty`, 'Export bundles into it:\n  assay bundle NODE -f FILE');
  const counts = results
    .map(([result, code]) => ({ result, code, count: items.filter((item) => item.result === result).length }))
    .filter(({ count }) => count > 0);
  const summary = Object.fromEntries(counts.map(({ result, count }) => [result, count]));
  await print(io, format, { dir, items, summary }, () => {
    const ended = counts
      .toReversed()
      .map(({ result, count }) => `${count} ${result}`)
      .join(', ');
    const rows = items.map(({ file, result, verdict, text }) => [
      file,
      result,
      verdict?.node ?? '-',
      verdict?.state ?? '-',
      withShortDigests(text ?? '-'),
    ]);
    const lines = table(['FILE', 'RESULT', 'NODE', 'STATE', 'WHY'], rows);
    return `${lines}${items.length === 1 ? '1 file' : `${items.length} files`}: ${ended}\n`;
  });
  exitWith(counts[0]?.code ?? exit.error);
}

function entriesOf(dir: string): readonly Dirent[] {
  try {
    return readdirSync(dir, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (cause) {
    throw unreadable(dir, cause);
  }
}

function judgedEntry(dir: string, entry: Dirent, judgement: BundleJudgement): JudgedFile {
  const { name: file } = entry;
  const nothing = (result: Result, text: string): JudgedFile => ({ file, result, verdict: null, text });
  // Attack: a pipe that never ends, or a link to a device.
  if (!entry.isFile()) return nothing('not looked at', kindOf(entry));
  try {
    const { verdict, rejected, isBundle } = verifyBundle(
      readFile(join(dir, file)).toString('utf8'),
      judgement,
    );
    const [reason] = verdict.reasons;
    const text = reason === undefined ? null : `${reason.code}: ${reason.text}`;
    if (!isBundle) return nothing('no bundle', text ?? 'it is none');
    const code = exitOfState(verdict.state);
    const result = rejected || code === exit.untrusted ? 'bad' : code === exit.ok ? 'good' : 'not trusted';
    return { file, result, verdict, text };
  } catch (error) {
    return nothing('unreadable', error instanceof Error ? error.message : String(error));
  }
}

function kindOf(entry: Dirent): string {
  if (entry.isSymbolicLink()) return 'a symbolic link, which is not followed';
  return entry.isDirectory() ? 'a folder: verify it by itself' : 'neither a file nor a folder';
}
