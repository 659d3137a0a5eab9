import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Architecture } from './recipe.ts';
import type { Tool } from './tool.ts';

/** One image of several architectures, as a layout of OCI in a folder. */
export interface OciImage {
  readonly folder: string;
  /** The same as one file, for what takes an index. */
  readonly archive: string;
  /** One file for each architecture, for what takes none. */
  readonly archives: Readonly<Record<string, string>>;
  /** Of the index: what is pushed, signed and named in a chart. */
  readonly digest: string;
  readonly manifests: Readonly<Record<string, string>>;
}

const descriptor = z.object({ digest: z.string().regex(/^sha256:[0-9a-f]{64}$/) });
const layout = z.looseObject({ manifests: z.tuple([z.looseObject(descriptor.shape)]) });
const index = z.object({
  manifests: z.array(
    z.looseObject({ ...descriptor.shape, platform: z.looseObject({ architecture: z.string() }) }),
  ),
});
const manifest = z.object({ config: descriptor, layers: z.array(descriptor) });

/** A tar file whose bytes are those of the folder alone: owner, time and order are given. */
export async function archive(tool: Tool, folder: string, file: string, epoch: number): Promise<void> {
  await tool('tar', [...tarOptions(file, epoch), '--directory', folder, '.']);
}

function tarOptions(file: string, epoch: number): readonly string[] {
  const owner = ['--owner=0', '--group=0', '--numeric-owner'];
  return ['--create', '--file', file, '--format=gnu', '--sort=name', `--mtime=@${epoch}`, ...owner];
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
  const annotations = annotationsOf(name, tag);
  nameLayout(layoutFolder, annotations);
  const file = join(folder, `${name}.oci.tar`);
  await archive(tool, layoutFolder, file, epoch);
  const archives: Record<string, string> = {};
  for (const architecture of architectures) {
    const one = join(folder, `${name}-${architecture}.docker.tar`);
    await archiveOne(tool, { layoutFolder, architecture, annotations, file: one, epoch });
    archives[architecture] = one;
  }
  return { folder: layoutFolder, archive: file, archives, ...readLayout(layoutFolder) };
}

const nameForRuntimes = 'io.containerd.image.name';

/**
 * containerd and podman take the first name as it is, and there a kubelet looks for a name without a host. Of a tag alone,
 * containerd makes a name that no pod has, the same one for every image.
 */
function annotationsOf(name: string, tag: string): Annotations {
  return {
    [nameForRuntimes]: `docker.io/library/${name}:${tag}`,
    'org.opencontainers.image.ref.name': tag,
  };
}

interface Annotations {
  readonly [nameForRuntimes]: string;
  readonly 'org.opencontainers.image.ref.name': string;
}

/** No digest covers this file: what is pushed and signed stays the same. */
function nameLayout(folder: string, annotations: Annotations): void {
  const { manifests, ...rest } = readJson(folder, 'index.json', layout);
  writeJson(folder, 'index.json', { ...rest, manifests: [{ ...manifests[0], annotations }] });
}

/** An image of one architecture, as an archive of OCI and, by one file more, of docker, whose own store reads no index. */
async function archiveOne(
  tool: Tool,
  request: {
    readonly layoutFolder: string;
    readonly architecture: Architecture;
    readonly annotations: Annotations;
    readonly file: string;
    readonly epoch: number;
  },
): Promise<void> {
  const { layoutFolder, architecture, annotations, file, epoch } = request;
  const one = readIndex(layoutFolder).manifests.find((each) => each.platform.architecture === architecture);
  if (one === undefined) throw new Error(`${layoutFolder} has no image for ${architecture}`);
  const { config, layers } = readJson(layoutFolder, blobOf(one), manifest);
  const described = `${file}.described`;
  // A build that was killed leaves it.
  mkdirSync(described, { recursive: true });
  try {
    writeJson(described, 'index.json', { schemaVersion: 2, manifests: [{ ...one, annotations }] });
    writeJson(described, 'manifest.json', [
      { Config: blobOf(config), RepoTags: [annotations[nameForRuntimes]], Layers: layers.map(blobOf) },
    ]);
    await tool('tar', [
      ...tarOptions(file, epoch),
      ...['--directory', layoutFolder, 'oci-layout', ...[one, config, ...layers].map(blobOf)],
      ...['--directory', described, 'index.json', 'manifest.json'],
    ]);
  } finally {
    rmSync(described, { recursive: true });
  }
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
  const { digest, manifests } = readIndex(folder);
  return {
    digest,
    manifests: Object.fromEntries(manifests.map((one) => [one.platform.architecture, one.digest])),
  };
}

function readIndex(folder: string): z.infer<typeof index> & z.infer<typeof descriptor> {
  const [{ digest }] = readJson(folder, 'index.json', layout).manifests;
  return { digest, ...readJson(folder, blobOf({ digest }), index) };
}

function blobOf({ digest }: z.infer<typeof descriptor>): string {
  return `blobs/sha256/${digest.replace('sha256:', '')}`;
}

function readJson<T>(folder: string, file: string, schema: z.ZodType<T>): T {
  return schema.parse(JSON.parse(readFileSync(join(folder, file), 'utf8')));
}

function writeJson(folder: string, file: string, value: unknown): void {
  writeFileSync(join(folder, file), JSON.stringify(value));
}
