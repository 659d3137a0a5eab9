/** The `manifest` of a signed directory, and who signed it: `ssh-signature`, `minisign`, `signers`. */

import { declaredBounds, declaredFiles } from '../../formats/declared.ts';
import { plainName } from '../../formats/reference.ts';
import { Rejection } from '../../wire/rejection.ts';

/** The content of a directory, and which one of its kind it is. */
export interface Manifest {
  /** Counts up from 1: of two manifests the later one has the higher serial. */
  readonly serial: number;
  /** References whose revocation by a person is taken back, each since which serial. */
  readonly restored: ReadonlyMap<string, number>;
  /** Each file below the directory, in the order of their paths: policy, pins, and references. */
  readonly files: readonly ManifestFile[];
}

export interface ManifestFile {
  /** With slashes, relative to the directory. */
  readonly path: string;
  /** SHA-256, 64 hex digits. */
  readonly sha256: string;
}

const first = 'assay declared 1';
const segment = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;

/** Whether such a path may stand in a manifest: four names at most, none of which leads up or begins with a dot. */
export function isListable(path: string): boolean {
  const names = path.split('/');
  return names.length <= 4 && names.every((name) => segment.test(name));
}

/** Whether a file of that name is a part of the directory: others, such as a README, are nobody's concern. */
export function isPart(path: string): boolean {
  return /\.(json|ya?ml)$/.test(path) || path === declaredFiles.pins;
}

/**
 * Parses a manifest: lines `assay declared 1`, `serial N`, any `restore NAME SERIAL`, and `SHA-256  PATH` as sha256sum has
 * them. A manifest is written in one way only.
 * @throws Rejection `malformed`, `too_large`; its field is the line, `line 3`
 */
export function parseManifest(bytes: Buffer): Manifest {
  if (bytes.length > declaredBounds.manifest)
    throw new Rejection('too_large', `the manifest has ${bytes.length} bytes`, { field: 'manifest' });
  const text = bytes.toString('latin1');
  const lines = text.split('\n');
  if (lines.pop() !== '') throw atLine(lines.length + 1, 'the manifest does not end with a line');
  if (lines.shift() !== first) throw atLine(1, `the manifest does not begin with: ${first}`);
  const [, digits] = /^serial ([1-9][0-9]{0,14})$/.exec(lines.shift() ?? '') ?? [];
  if (digits === undefined) throw atLine(2, 'not serial and a number from 1 on');
  const serial = Number(digits);
  const restored = new Map<string, number>();
  const files: ManifestFile[] = [];
  for (const [index, line] of lines.entries()) {
    const number = index + 3;
    const [, name, since] = /^restore (\S+) ([1-9][0-9]{0,14})$/.exec(line) ?? [];
    if (name !== undefined && files.length === 0) {
      if (!plainName.safeParse(name).success || restored.has(name) || Number(since) > serial)
        throw atLine(number, 'names no reference, one twice, or a serial to come');
      restored.set(name, Number(since));
      continue;
    }
    const [, sha256, path = ''] = /^([0-9a-f]{64}) {2}(\S+)$/.exec(line) ?? [];
    // Attack: a path that leads out of the directory has the server read, and tell of, any file.
    if (sha256 === undefined || !isListable(path) || !isPart(path))
      throw atLine(
        number,
        'not a SHA-256, two blanks, and the path of a .json, .yaml or pins.csv below here',
      );
    if (path <= (files.at(-1)?.path ?? '')) throw atLine(number, 'not in the order of paths, or there twice');
    files.push({ path, sha256 });
  }
  if (files.length > declaredBounds.files)
    throw new Rejection('too_large', `${files.length} files, and ${declaredBounds.files} may be`, {
      field: 'manifest',
    });
  // Empty means refuse: what is declared nowhere would be retired.
  if (files.length === 0) throw atLine(3, 'it lists no file');
  return { serial, restored, files };
}

/** The one text of a manifest. */
export function manifestText({ serial, restored, files }: Manifest): string {
  return [
    first,
    `serial ${serial}`,
    ...[...restored].map(([name, since]) => `restore ${name} ${since}`),
    ...files.map(({ sha256, path }) => `${sha256}  ${path}`),
    '',
  ].join('\n');
}

function atLine(line: number, text: string): Rejection {
  return new Rejection('malformed', `manifest line ${line}: ${text}`, { field: `line ${line}` });
}
