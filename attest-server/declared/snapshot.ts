import { constants } from 'node:fs';
import { lstat, open, readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { declaredBounds, declaredFiles } from '../formats/declared.ts';
import { isListable, isPart } from '../verify/declared/manifest.ts';
import { DirectoryFault } from './directory-fault.ts';

/** The content of a directory at one moment. */
export interface Snapshot {
  /** The files that a manifest may name, in the order of their paths. */
  readonly paths: readonly string[];
  /** A mark that changes when any of them, the manifest or a signature was rewritten. */
  readonly mark: string;
  /** Reads one of them. @throws DirectoryFault */
  read(path: string, most: number): Promise<Buffer>;
}

/**
 * Looks into a directory without reading files. A mounted ConfigMap is looked at through its link `..data`, which the
 * kubelet changes as a whole: what is read then is of one version.
 * @throws DirectoryFault
 */
export async function snapshotOf(directory: string): Promise<Snapshot> {
  const base = await baseOf(directory);
  const marks: string[] = [base];
  const paths: string[] = [];
  let entries = 0;
  const walk = async (folder: string): Promise<void> => {
    const found = await readdir(join(base, folder), { withFileTypes: true }).catch(unreadable(folder));
    entries += found.length;
    if (entries > declaredBounds.entries)
      throw new DirectoryFault('too_large', `${directory} holds more than ${declaredBounds.entries} files`);
    for (const entry of found.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      // Of Git, of the kubelet, or of an editor.
      if (entry.name.startsWith('.')) continue;
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        await walk(path);
        continue;
      }
      const isOfManifest = folder === '' && ofManifest.has(entry.name);
      if (!isOfManifest && !isPart(path)) continue;
      // No manifest names so many: to ask of each of them at every look would be for nothing.
      if (!isOfManifest && paths.length === declaredBounds.files)
        throw new DirectoryFault(
          'too_large',
          `${directory} holds more than ${declaredBounds.files} files that are references, and none may be left out`,
        );
      const { ino, size, mtimeNs, ctimeNs } = await lstat(join(base, path), { bigint: true }).catch(
        unreadable(path),
      );
      marks.push(`${path} ${ino} ${size} ${mtimeNs} ${ctimeNs}`);
      if (!isOfManifest) paths.push(path);
    }
  };
  await walk('');
  const strange = paths.find((path) => !isListable(path));
  if (strange !== undefined)
    throw new DirectoryFault(
      'malformed',
      `${JSON.stringify(strange)}: a manifest cannot name it; names have letters, digits, dot, dash and underscore, and a file lies at most three folders deep`,
    );
  return { paths: paths.sort(), mark: marks.join('\n'), read: (path, most) => readBelow(base, path, most) };
}

const ofManifest: ReadonlySet<string> = new Set([
  declaredFiles.manifest,
  declaredFiles.sshSignature,
  declaredFiles.minisignSignature,
]);

async function baseOf(directory: string): Promise<string> {
  try {
    return await realpath(join(directory, '..data'));
  } catch {
    return realpath(directory).catch(unreadable(directory));
  }
}

/** A link counts where it stays below the directory. Attack: one that leads out has the server read what only it may. */
async function readBelow(base: string, path: string, most: number): Promise<Buffer> {
  const real = await realpath(join(base, path)).catch(unreadable(path));
  if (!real.startsWith(`${base}/`))
    throw new DirectoryFault('unreadable', `${path} is a link that leads out of the directory`);
  // Of a pipe nobody waits for the other end.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(real, flags).catch(unreadable(path));
  try {
    const { size } = await sizeOf(file, path);
    if (size > most) throw new DirectoryFault('too_large', `${path} has ${size} bytes, and ${most} may be`);
    const bytes = Buffer.alloc(size);
    const { bytesRead } = await file.read(bytes, 0, size, 0);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

async function sizeOf(file: Awaited<ReturnType<typeof open>>, path: string) {
  const stats = await file.stat();
  if (!stats.isFile()) throw new DirectoryFault('unreadable', `${path} is no file`);
  return stats;
}

function unreadable(path: string) {
  return (cause: unknown): never => {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'no file';
    throw new DirectoryFault('unreadable', `${path || 'the directory'} cannot be read (${code})`, cause);
  };
}
