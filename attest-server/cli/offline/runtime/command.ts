import { hash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';
import { ToolError } from 'node-tpm2/run';
import { DigestList } from '../../../formats/digest-list.ts';
import { parseImaPolicy } from '../../../formats/ima-policy.ts';
import { checkListedFile, type ListedFile } from '../../../formats/packed-list.ts';
import {
  type KnownImaPolicy,
  type KnownKey,
  parseFiles,
  type Reference,
  type RuntimeFiles,
  reference,
} from '../../../formats/reference.ts';
import { limits } from '../../../wire/limits.ts';
import { printable } from '../../../wire/printable.ts';
import { Rejection } from '../../../wire/rejection.ts';
import { inOurWords } from '../../../wire/shape-fault.ts';
import type { CliContext } from '../../context.ts';
import { CliError, exit } from '../../exit.ts';
import type { CliIo } from '../../io.ts';
import { type Format, print } from '../../output.ts';
import { readFile } from '../../read-file.ts';
import { counted } from '../../sentence.ts';
import { into } from '../../write-file.ts';
import { checkNames } from '../check-names.ts';
import { readReference } from '../reference-file.ts';
import { readDeb } from './deb.ts';
import { readNodeFiles } from './from-node.ts';
import { globOfExclude, parseKeylime } from './keylime.ts';
import { readRpm } from './rpm.ts';

export interface RuntimeOptions {
  readonly name: string;
  readonly group: string;
  readonly fromDpkg: readonly string[];
  readonly fromRpm: readonly string[];
  readonly fromNode: readonly string[];
  readonly fromKeylime: readonly string[];
  readonly fromReference: readonly string[];
  readonly policy: readonly string[];
  readonly state: string;
  readonly file?: string;
  readonly output: Format;
}

/** `reference runtime`: the files that nodes may run, of packages, of a node, or of what others wrote; as a reference file. */
export async function writeRuntimeReference(context: CliContext, options: RuntimeOptions): Promise<void> {
  const { io } = context;
  checkOptions(options);
  const gathered = new FoundFiles(io);
  for (const folder of options.fromDpkg)
    await gathered.packages(folder, '.deb', '--from-dpkg', async (path) => {
      for await (const file of readDeb(path)) gathered.add(file);
    });
  for (const folder of options.fromRpm)
    await gathered.packages(folder, '.rpm', '--from-rpm', async (path) => {
      for (const file of readRpm(path)) gathered.add(file);
    });
  for (const path of options.fromKeylime) await addKeylime(gathered, path, io);
  for (const path of options.fromReference) await addReference(gathered, path, io);
  for (const node of options.fromNode) {
    const { runtime, label } = await readNodeFiles(await context.server(), node, io.now());
    io.err(`assay: ${counted(gathered.addAll(runtime), 'file')} of ${printable(label)}\n`);
  }
  for (const path of options.policy) gathered.addPolicy(policyOf(path, io));
  const made = referenceOf(gathered, options);
  await print(into(options.file === '-' ? undefined : options.file, io), options.output, made, () => '');
}

function checkOptions(options: RuntimeOptions): void {
  checkNames(options);
  if (options.state !== 'staged' && options.state !== 'active')
    throw new CliError(`--state ${options.state} is not known`, 'It may be staged, active.', exit.usage);
  const { fromDpkg, fromRpm, fromNode, fromKeylime, fromReference, policy } = options;
  if ([fromDpkg, fromRpm, fromNode, fromKeylime, fromReference, policy].every(({ length }) => length === 0))
    throw new CliError(
      'nothing is given to list files of',
      'Give --from-dpkg, --from-rpm, --from-node, --from-keylime, --from-reference or --policy.',
      exit.usage,
    );
}

/** The files found so far; progress is printed every few seconds. */
class FoundFiles {
  readonly files: ListedFile[] = [];
  readonly policies = new Map<string, KnownImaPolicy>();
  readonly keyrings = new Map<string, KnownKey>();
  readonly #io: CliIo;

  constructor(io: CliIo) {
    this.#io = io;
  }

  /** @throws Rejection for a file that none can be: while it is known if it came from */
  add(file: ListedFile): void {
    checkListedFile(file);
    // A list is refused in the end where it is too large: not only then.
    if (this.files.length === mostFiles)
      throw new CliError(`there are more than ${mostFiles} files`, tooManyHint);
    this.files.push(file);
  }

  addPolicy(policy: KnownImaPolicy): void {
    this.policies.set(policy.digest, policy);
  }

  addKey(key: KnownKey): void {
    this.keyrings.set(`${key.keyring} ${key.digest}`, key);
  }

  /** @returns how many files it lists */
  addAll(runtime: RuntimeFiles): number {
    for (const file of parseFiles(runtime).files()) this.add(file);
    for (const policy of runtime.policies ?? []) this.addPolicy(policy);
    for (const key of runtime.keyrings ?? []) this.addKey(key);
    return runtime.count;
  }

  /** Reads every package below a folder. @throws CliError naming the one that is faulty */
  async packages(
    folder: string,
    ending: string,
    option: string,
    read: (path: string) => Promise<void>,
  ): Promise<void> {
    const paths = packagesIn(resolve(this.#io.cwd, folder), ending, option);
    const before = this.files.length;
    let tellAt = performance.now() + tellEvery;
    for (const [index, path] of paths.entries()) {
      await naming(relative(this.#io.cwd, path), () => read(path));
      if (performance.now() < tellAt) continue;
      tellAt = performance.now() + tellEvery;
      this.#io.err(`assay: ${index + 1} of ${counted(paths.length, 'package')} read\n`);
    }
    this.#io.err(
      `assay: ${counted(this.files.length - before, 'file')} of ${counted(paths.length, 'package')} in ${printable(folder)}\n`,
    );
  }
}

const tellEvery = 5_000;
/** More of them never fit into one reference: of each a digest is listed, and mostly a path. */
const mostFiles = 1_000_000;
const tooManyHint =
  'Make several references, each of some of the packages: all that are active count together.';

function packagesIn(folder: string, ending: string, option: string): readonly string[] {
  let names: string[];
  try {
    names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  } catch (cause) {
    const text = `${folder} is not a folder that can be read`;
    throw new CliError(text, `Name another one with ${option}.`, exit.error, cause);
  }
  const paths = names
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => join(folder, name));
  if (paths.length === 0)
    throw new CliError(`${folder} holds no package (*${ending})`, `Name another folder with ${option}.`);
  return paths;
}

/** Names the package in its errors: half a list is useless. */
async function naming(path: string, read: () => void | Promise<void>): Promise<void> {
  try {
    await read();
  } catch (cause) {
    if (cause instanceof ToolError && cause.code === 'missing_program')
      throw new CliError(`${path} cannot be read: ${cause.message}`, null, exit.error, cause);
    if (!(cause instanceof Rejection)) throw cause;
    const place = [
      ...(cause.field === undefined ? [] : [`field ${cause.field}`]),
      ...(cause.offset === undefined ? [] : [`offset ${cause.offset}`]),
    ].join(', ');
    throw new CliError(
      `${path} cannot be read: ${place === '' ? '' : `${place}: `}${cause.message}`,
      'Nothing was written. Fetch the file again, or take it out of the folder.',
      exit.error,
      cause,
    );
  }
}

function addKeylime(gathered: FoundFiles, path: string, io: CliIo): Promise<void> {
  return naming(path, () => {
    const text = readFile(resolve(io.cwd, path)).toString('utf8');
    const { files, keyrings, excludes, notes } = parseKeylime(text);
    for (const file of files) gathered.add(file);
    for (const key of keyrings) gathered.addKey({ ...key, description: `from ${basename(path)}` });
    io.err(`assay: ${counted(files.length, 'file')} of ${printable(path)}\n`);
    for (const note of notes) io.err(`assay: not taken over: ${note}\n`);
    if (excludes.length > 0) io.err(excludesText(excludes));
  });
}

/** A reference says what is known; what is passed over, the policy says. */
function excludesText(excludes: readonly string[]): string {
  const globs = excludes.flatMap((each) => globOfExclude(each) ?? []);
  const others = excludes.filter((each) => globOfExclude(each) === null);
  const shown = (texts: readonly string[]) =>
    texts
      .slice(0, mostShown)
      .map((each) => `  - ${printable(JSON.stringify(each))}\n`)
      .join('') + (texts.length > mostShown ? `  # and ${texts.length - mostShown} more\n` : '');
  return [
    'assay: what it leaves out is not part of a reference\n',
    ...(globs.length === 0 ? [] : ['put this under runtime.exclude of the policy:\n', shown(globs)]),
    ...(others.length === 0 ? [] : ['no glob says these regular expressions:\n', shown(others)]),
  ].join('');
}

const mostShown = 100;

async function addReference(gathered: FoundFiles, path: string, io: CliIo): Promise<void> {
  const { kind, runtime } = readReference(resolve(io.cwd, path));
  if (kind !== 'runtime' || runtime === undefined)
    throw new CliError(`${path} is a reference of kind ${kind}`, 'Name one of kind runtime.');
  await naming(path, () => {
    io.err(`assay: ${counted(gathered.addAll(runtime), 'file')} of ${printable(path)}\n`);
  });
}

function policyOf(path: string, io: CliIo): KnownImaPolicy {
  const bytes = readFile(resolve(io.cwd, path));
  try {
    const { covers, doubts } = parseImaPolicy(bytes.toString('utf8'));
    io.err(
      `assay: ${printable(path)} measures ${covers.length === 0 ? 'nothing without a gap' : covers.join(', ')}\n`,
    );
    for (const { line, text } of doubts) io.err(`  line ${line}: ${printable(text)}\n`);
    return { digest: hash('sha256', bytes), covers: [...covers], description: basename(path) };
  } catch (cause) {
    if (!(cause instanceof Rejection)) throw cause;
    throw new CliError(
      `${path} is no policy of IMA: ${cause.field ?? 'file'}: ${cause.message}`,
      'Name the file that is written to /sys/kernel/security/ima/policy.',
      exit.error,
      cause,
    );
  }
}

function referenceOf(gathered: FoundFiles, { name, group, state }: RuntimeOptions): Reference {
  const list = DigestList.of(gathered.files);
  const bytes = list.toBytes();
  if (bytes.length > limits.references.files)
    throw new CliError(
      `a list of ${counted(list.fileCount, 'file')} takes ${bytes.length} bytes, and one reference takes ${limits.references.files}`,
      tooManyHint,
    );
  const [policies, keyrings] = [[...gathered.policies.values()], [...gathered.keyrings.values()]];
  if (list.fileCount + policies.length + keyrings.length === 0)
    throw new CliError('what is given lists no file', 'No server takes in a reference that lists nothing.');
  const made = reference.safeParse(
    {
      version: 1,
      kind: 'runtime',
      name,
      group,
      state,
      expires: null,
      pcrs: {},
      runtime: {
        files: bytes.toString('base64'),
        count: list.fileCount,
        ...(policies.length > 0 && { policies }),
        ...(keyrings.length > 0 && { keyrings }),
      },
    },
    inOurWords,
  );
  if (made.success) return made.data;
  const [issue] = made.error.issues;
  throw new CliError(
    `no reference can have all that is given: ${issue?.path.join('.')}: ${issue?.message}`,
    'Nothing was written. Make several references, or leave out what no node uses.',
  );
}
