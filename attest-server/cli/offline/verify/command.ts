import { createReadStream, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { nextStep } from '../../../policy/advice.ts';
import { readTrustRoots } from '../../../roots/read-roots.ts';
import type { TrustRoots } from '../../../verify/endorsement-chain.ts';
import { printable } from '../../../wire/printable.ts';
import { Rejection } from '../../../wire/rejection.ts';
import { paragraphs } from '../../commands/why.ts';
import type { CliContext } from '../../context.ts';
import { CliError, exit, exitOfState } from '../../exit.ts';
import { type Format, print } from '../../output.ts';
import { readInput, unreadable } from '../../read-file.ts';
import { readingOf, type TextFormat, withShortDigests } from '../../readable.ts';
import { noteLines } from '../boot/note-lines.ts';
import { readPolicy } from '../policy/text.ts';
import { readReferences } from '../reference-file.ts';
import { type GivenInitrd, givenInitrd } from './given-initrds.ts';
import { junit } from './junit.ts';
import { sarif } from './sarif.ts';
import { type BundleVerdict, type JudgedBundle, verifyBundle } from './verify.ts';

export interface VerifyOptions {
  readonly policy?: string;
  readonly references?: string;
  readonly trustRoots?: string;
  readonly initrd?: readonly string[];
  readonly output: Format;
  readonly utc?: boolean;
}

/** `verify BUNDLE|DIR`: needs no server; exits by the state, 10 for evidence that is rejected. */
export async function judgeBundle(context: CliContext, file: string, options: VerifyOptions): Promise<void> {
  const { version, io, exitWith } = context;
  const { output: format, utc } = options;
  const at = (path: string) => resolve(io.cwd, path);
  const judgement = {
    ...(options.policy !== undefined && { policy: readPolicy(io, options.policy) }),
    ...(options.references !== undefined && {
      references: readReferences(at(options.references)),
    }),
    ...(options.trustRoots !== undefined && {
      roots: readRoots(options.trustRoots === 'builtin' ? 'builtin' : at(options.trustRoots)),
    }),
    ...(options.initrd !== undefined && { initrds: await readInitrds(options.initrd, at) }),
    now: io.now(),
  };
  if (file !== '-' && statSync(at(file), { throwIfNoEntry: false })?.isDirectory() === true) {
    const { judgeFolder } = await import('./folder.ts');
    return judgeFolder(context, at(file), judgement, format);
  }
  const judged = verifyBundle((await readInput(io, file)).toString('utf8'), judgement);
  if (format === 'table' && !judged.isBundle) {
    const why = judged.verdict.reasons[0]?.text.replace(/^the bundle /, 'it ') ?? '';
    throw new CliError(
      `${file === '-' ? 'standard input' : file} is no bundle: ${why}`,
      exportOne,
      exit.untrusted,
    );
  }
  if (format === 'sarif') await print(io, 'json', sarif(file, judged, version), () => '');
  else
    await print(io, format, withNextSteps(judged.verdict), () =>
      format === 'junit' ? junit(file, judged) : page(judged, readingOf(io, utc)),
    );
  exitWith(judged.rejected ? exit.untrusted : exitOfState(judged.verdict.state));
}

const exportOne = 'Name the file of an exported bundle:\n  assay bundle NODE -f FILE';

/** Empty means refuse: a folder without a root would otherwise be a silent yes or no. */
function readRoots(name: string): TrustRoots {
  try {
    return readTrustRoots([name]);
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new CliError(text, 'Name another folder with --trust-roots.', exit.error, cause);
  }
}

async function readInitrds(
  files: readonly string[],
  at: (path: string) => string,
): Promise<readonly GivenInitrd[]> {
  const given: GivenInitrd[] = [];
  for (const file of files)
    try {
      given.push(await givenInitrd(file, createReadStream(at(file))));
    } catch (cause) {
      if (cause instanceof Rejection)
        throw new CliError(`${at(file)}: ${cause.message}`, 'Is it the right file?', exit.error, cause);
      if (cause instanceof Error && 'code' in cause) throw unreadable(at(file), cause);
      throw cause;
    }
  return given;
}

/** As the server says it in each reason, too. */
function withNextSteps(verdict: BundleVerdict) {
  const { node = null, group = null } = verdict;
  return {
    ...verdict,
    reasons: verdict.reasons.map((reason) => ({ ...reason, next: nextStep(reason, { node, group }) })),
  };
}

function page({ verdict, rejected }: JudgedBundle, textFormat: TextFormat): string {
  const { state, reasons, aspects, boot, keyRequest, from, node, group, require } = withNextSteps(verdict);
  const { notes = [] } = verdict;
  const authentic = reasons.length === 0 && Object.keys(aspects).length === 0;
  const how = rejected
    ? 'the evidence is rejected'
    : authentic
      ? 'the evidence is authentic; give --policy to have it judged'
      : 'the evidence is authentic';
  const lines = [
    `${state}: ${how}`,
    ...(node === undefined
      ? []
      : [
          `  judged as node ${printable(node)} of group ${printable(group ?? '')}, which requires ${require?.join(', ')}`,
        ]),
    ...(keyRequest === undefined
      ? []
      : [
          `  its quote signs a request for the key of volume ${keyRequest.volume}; the audit log says whether it got it`,
        ]),
    ...notes.map((note) => `  note: ${note}`),
    ...(from === undefined
      ? []
      : ['  judged by the policy and references in the bundle itself: the exporter vouches for them']),
    ...Object.entries(aspects).map(([aspect, { status, source }]) => `  ${aspect}: ${status} (${source})`),
    ...(boot === null ? [] : [`  boot log: ${boot.events} events, ${boot.format}, SHA-256 ${boot.digest}`]),
    ...(boot === null ? [] : noteLines(boot.notes).map((line) => `  ${line}`)),
  ];
  const head = lines.map((line) => `${withShortDigests(line)}\n`).join('');
  return head + paragraphs(reasons, textFormat, node);
}
