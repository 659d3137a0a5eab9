import { hash } from 'node:crypto';
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DirectoryFault } from '../../../declared/directory-fault.ts';
import { type DirectoryContent, readContent, readDirectory } from '../../../declared/read-directory.ts';
import { isKeyFile, readSigners } from '../../../declared/read-signers.ts';
import { snapshotOf } from '../../../declared/snapshot.ts';
import { declaredFiles, declaredNamespace } from '../../../formats/declared.ts';
import { enrolments } from '../../../policy/policy.ts';
import { type Manifest, manifestText, parseManifest } from '../../../verify/declared/manifest.ts';
import { shellWord } from '../../../wire/advice.ts';
import { printable } from '../../../wire/printable.ts';
import { Rejection } from '../../../wire/rejection.ts';
import type { CliContext } from '../../context.ts';
import { CliError, exit } from '../../exit.ts';
import { type Format, print } from '../../output.ts';
import { counted, listed } from '../../sentence.ts';
import { unwritable } from '../../write-file.ts';

export interface DeclareOptions {
  readonly check?: boolean;
  readonly key: readonly string[];
  readonly serial?: string;
  readonly restore: readonly string[];
  readonly output: Format;
}

/** `declare DIR`: checks a directory as a server would, and writes its manifest; with `--check` it looks at the signature, too. */
export async function declareDirectory(
  { io }: CliContext,
  given: string,
  options: DeclareOptions,
): Promise<void> {
  const directory = resolve(io.cwd, given);
  const { check = false, key: keys, output: format } = options;
  if (check !== keys.length > 0)
    throw new CliError(
      '--check and --key go together',
      'Name each key that servers take: --key FILE, or the key itself.',
      exit.usage,
    );
  if (check && (options.serial !== undefined || options.restore.length > 0))
    throw new CliError('--check writes no manifest', 'Leave out --serial and --restore.', exit.usage);
  try {
    if (check) return await checkSigned(io, directory, keys, format);
    const { manifest, content, isNew, since } = await nextManifest(directory, options);
    if (isNew) writeManifest(directory, manifestText(manifest));
    const answer = { ...answerOf(manifest, content, isNew ? 'written' : 'unchanged'), ...since };
    await print(io, format, answer, () =>
      isNew ? writtenText(given, manifest, content, since) : unchangedText(given, manifest),
    );
  } catch (error) {
    if (!(error instanceof DirectoryFault)) throw error;
    throw new CliError(
      `${given}: ${error.message}`,
      `No server would take it. ${error.message.includes(': version: ') ? 'Each .json and .yaml in it is a reference, but for policy.yaml beside the manifest. ' : ''}docs/references.md, "From Git", says what belongs into the directory.`,
      exit.error,
      error,
    );
  }
}

async function checkSigned(io: CliContext['io'], directory: string, keys: readonly string[], format: Format) {
  const signers = await readSigners(keys.map((key) => (isKeyFile(key) ? resolve(io.cwd, key) : key))).catch(
    (cause: unknown) => {
      throw new CliError(String(cause instanceof Error ? cause.message : cause), null, exit.usage, cause);
    },
  );
  const read = await readDirectory(await snapshotOf(directory), signers, enrolments);
  const { manifest } = read;
  const answer = { ...answerOf(manifest, read, 'signed'), key: manifest.signer.name };
  await print(
    io,
    format,
    answer,
    () =>
      `serial ${manifest.serial}, signed by ${printable(manifest.signer.name)} (${manifest.signer.fingerprint}): ${partsOf(read)}\n`,
  );
}

/** The manifest of what is there; `isNew` where it says something else than the one that is there. */
async function nextManifest(directory: string, { serial, restore }: DeclareOptions) {
  const snapshot = await snapshotOf(directory);
  const digests = new Map<string, string>();
  const content = await readContent(snapshot, snapshot.paths, enrolments, (path, bytes) => {
    digests.set(path, hash('sha256', bytes, 'hex'));
  });
  const files = [...digests].map(([path, sha256]) => ({ path, sha256 }));
  if (files.length === 0)
    throw new CliError(
      'the directory holds no reference, no pins and no policy',
      'Put reference files (*.json, *.yaml), pins.csv or policy.yaml into it.',
    );
  const before = manifestBefore(directory);
  const next = serialOf(serial, before);
  const names = new Set(content.references.map(({ reference }) => reference.name));
  const strange = restore.find((name) => !names.has(name));
  if (strange !== undefined)
    throw new CliError(
      `there is no reference ${strange} in the directory`,
      'Name one that is in a file of it.',
    );
  const kept = [...(before?.restored ?? [])].filter(([name]) => names.has(name) && !restore.includes(name));
  const restored = new Map([...kept, ...restore.map((name) => [name, next] as const)]);
  const isNew =
    serial !== undefined ||
    restore.length > 0 ||
    before === null ||
    JSON.stringify(before.files) !== JSON.stringify(files);
  const manifest: Manifest = isNew ? { serial: next, restored, files } : before;
  return { manifest, content, isNew, since: sinceManifest(before, files) };
}

/** Paths that the earlier manifest has otherwise, or not at all; all are new if there is none. */
interface ChangedPaths {
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly removed: readonly string[];
}

function sinceManifest(before: Manifest | null, files: Manifest['files']): ChangedPaths {
  const said = new Map(before?.files.map(({ path, sha256 }) => [path, sha256]));
  const is = new Set(files.map(({ path }) => path));
  const pathsOf = (found: Manifest['files']) => found.map(({ path }) => path);
  return {
    added: pathsOf(files.filter(({ path }) => !said.has(path))),
    changed: pathsOf(files.filter(({ path, sha256 }) => (said.get(path) ?? sha256) !== sha256)),
    removed: [...said.keys()].filter((path) => !is.has(path)),
  };
}

function manifestBefore(directory: string): Manifest | null {
  const path = join(directory, declaredFiles.manifest);
  if (!existsSync(path)) return null;
  try {
    return parseManifest(readFileSync(path));
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    throw new CliError(
      `${path} is no manifest: ${error.message}`,
      'Restore the earlier one from Git, or remove it and name the next serial: --serial N.',
      exit.error,
      error,
    );
  }
}

function serialOf(given: string | undefined, before: Manifest | null): number {
  const least = (before?.serial ?? 0) + 1;
  if (given === undefined) return least;
  const serial = Number(given);
  if (!/^[0-9]{1,15}$/.test(given) || serial < least)
    throw new CliError(
      `--serial ${given} is not a number from ${least} on`,
      'A server takes no serial twice, and none below the one in force.',
      exit.usage,
    );
  return serial;
}

/** Writes the manifest and removes the earlier signature, which is not of these bytes: ssh-keygen would ask whether to overwrite it. */
function writeManifest(directory: string, text: string): void {
  const path = join(directory, declaredFiles.manifest);
  try {
    writeFileSync(`${path}.new`, text);
    rmSync(join(directory, declaredFiles.sshSignature), { force: true });
    rmSync(join(directory, declaredFiles.minisignSignature), { force: true });
    renameSync(`${path}.new`, path);
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

function answerOf(
  { serial, restored, files }: Manifest,
  { policy, pins, references }: DirectoryContent,
  outcome: 'written' | 'unchanged' | 'signed',
) {
  return {
    outcome,
    serial,
    files: files.map(({ path }) => path),
    policy: policy !== null,
    pins: pins.length,
    references: references.map(({ reference: { name, group, state } }) => ({ name, group, state })),
    restored: [...restored.keys()],
  };
}

function partsOf({ policy, pins, references }: DirectoryContent): string {
  return [
    counted(references.length, 'reference'),
    ...(pins.length === 0 ? [] : [counted(pins.length, 'pin')]),
    ...(policy === null ? [] : ['a policy']),
  ].join(', ');
}

function writtenText(
  directory: string,
  { serial }: Manifest,
  content: DirectoryContent,
  { added, changed, removed }: ChangedPaths,
): string {
  const told = [
    ['new', added],
    ['changed', changed],
    // A checkout of a part would take the rest out of force on every server.
    ['gone, and out of force once this is signed', removed],
  ] as const;
  const since = told.flatMap(([what, paths]) =>
    paths.length === 0 ? [] : [`  ${what}: ${listed(paths)}\n`],
  );
  const manifest = shellWord(join(directory, declaredFiles.manifest));
  return `serial ${serial}: ${partsOf(content)}
${since.join('')}Sign the manifest by one of these, and commit both:
  ssh-keygen -Y sign -n ${declaredNamespace} -f KEY ${manifest}
  minisign -S -m ${manifest}
`;
}

function unchangedText(directory: string, { serial }: Manifest): string {
  return `${printable(directory)}: nothing changed since serial ${serial}, and the manifest stays\n`;
}
