import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Architecture } from './recipe.ts';
import type { Tool } from './tool.ts';

/** One image of several architectures, as a layout of OCI in a folder. */
export interface OciImage {
  readonly folder: string;
  /** The same as one file. */
  readonly archive: string;
  /** Of the index: what is pushed, signed and named in a chart. */
  readonly digest: string;
  readonly manifests: Readonly<Record<string, string>>;
}

const descriptor = z.object({ digest: z.string().regex(/^sha256:[0-9a-f]{64}$/) });
const layout = z.object({ manifests: z.array(descriptor).length(1) });
const index = z.object({
  manifests: z.array(descriptor.extend({ platform: z.object({ architecture: z.string() }) })),
});

/** A tar file whose bytes are those of the folder alone: owner, time and order are given. */
export async function archive(tool: Tool, folder: string, file: string, epoch: number): Promise<void> {
  const owner = ['--owner=0', '--group=0', '--numeric-owner'];
  await tool('tar', [
    ...['--create', '--file', file, '--format=gnu', '--sort=name', `--mtime=@${epoch}`, ...owner],
    ...['--directory', folder, '.'],
  ]);
}

/**
 * Makes the image of a Containerfile beside its root file systems (`NAME-ARCHITECTURE.tar` in `folder`). No program of
 * them is run, so that any architecture is made anywhere.
 */
export async function makeImage(
  tool: Tool,
  request: {
    readonly name: string;
    readonly tag: string;
    readonly containerfile: string;
    readonly architectures: readonly Architecture[];
    readonly folder: string;
    readonly epoch: number;
    readonly values: Readonly<Record<string, string>>;
  },
): Promise<OciImage> {
  const { name, tag, containerfile, architectures, folder, epoch, values } = request;
  const storage = storageOf(folder);
  const image = `localhost/${name}:${tag}`;
  const given = Object.entries(values).flatMap(([key, value]) => ['--build-arg', `${key}=${value}`]);
  for (const architecture of architectures)
    await tool('buildah', [
      ...[...storage, 'build', '--quiet', '--isolation', 'chroot', '--platform', `linux/${architecture}`],
      ...['--timestamp', String(epoch), '--identity-label=false', ...given],
      ...['--file', containerfile, '--manifest', image, folder],
    ]);
  const layoutFolder = join(folder, name);
  rmSync(layoutFolder, { recursive: true, force: true });
  mkdirSync(layoutFolder, { recursive: true });
  await tool('buildah', [
    ...[...storage, 'manifest', 'push', '--quiet', '--all', '--format', 'oci'],
    ...[image, `oci:${layoutFolder}:${tag}`],
  ]);
  const file = join(folder, `${name}.oci.tar`);
  await archive(tool, layoutFolder, file, epoch);
  return { folder: layoutFolder, archive: file, ...readLayout(layoutFolder) };
}

/** Takes away what earlier builds left: a manifest would keep their images beside the new ones. */
export async function emptyStorage(tool: Tool, folder: string): Promise<void> {
  await tool('buildah', [...storageOf(folder), 'rmi', '--all', '--force']);
}

/** Where buildah and podman keep what they made: nothing of this machine's own images is touched. */
export function storageOf(folder: string): readonly string[] {
  const [root, state] = ['storage', 'storage-state'].map((name) => join(folder, name));
  return ['--root', `${root}`, '--runroot', `${state}`, '--storage-driver', 'vfs'];
}

/** @throws Error where it is no layout of one image */
export function readLayout(folder: string): Pick<OciImage, 'digest' | 'manifests'> {
  const read = <T>(file: string, schema: z.ZodType<T>): T =>
    schema.parse(JSON.parse(readFileSync(join(folder, file), 'utf8')));
  const digest = read('index.json', layout).manifests[0]?.digest ?? '';
  const { manifests } = read(`blobs/sha256/${digest.replace('sha256:', '')}`, index);
  return {
    digest,
    manifests: Object.fromEntries(manifests.map((one) => [one.platform.architecture, one.digest])),
  };
}
