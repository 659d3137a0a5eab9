import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type DebianPackage, fetchDebianPackages } from './debian-packages.ts';
import type { SourcesPlaces } from './debian-sources.ts';
import { fetchNode } from './node-program.ts';
import { archive, emptyStorage, makeImage } from './oci-image.ts';
import { readIntegrity } from './package-lock.ts';
import { type Architecture, debianRelease, type Recipe } from './recipe.ts';
import { layOut, type Parts, type RootFileSystem, type Unpacked } from './root-file-system.ts';
import { sbomOf } from './sbom.ts';
import type { Tool } from './tool.ts';

export interface BuildRequest {
  /** The clone. */
  readonly root: string;
  /** What is written there: layouts, archives, SBOMs, root file systems, and a cache of packages. */
  readonly out: string;
  readonly recipes: readonly Recipe[];
  readonly architectures: readonly Architecture[];
  /** Seconds since 1970 of every file; null: the time of the commit. */
  readonly epoch: number | null;
  readonly places: SourcesPlaces;
  readonly tool: Tool;
  readonly say: (text: string) => void;
}

export interface BuiltImage {
  readonly name: string;
  readonly tag: string;
  readonly digest: string;
  readonly layout: string;
  readonly archive: string;
  readonly maxBytes: number;
  readonly architectures: Readonly<Record<string, BuiltArchitecture>>;
}

export interface BuiltArchitecture {
  readonly digest: string;
  readonly archive: string;
  readonly bytes: number;
  /** Bytes by what they are of, the most first. */
  readonly sizes: Readonly<Record<string, number>>;
  readonly sbom: string;
  readonly rootFileSystem: string;
}

/** Builds the images. @throws Error where one is larger than its recipe allows, or a part of it is not to be had */
export async function buildImages(request: BuildRequest): Promise<readonly BuiltImage[]> {
  const { root, out, tool, say } = request;
  const { version } = z
    .object({ version: z.string() })
    .parse(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')));
  const { revision, epoch } = await readCommit(request);
  mkdirSync(join(out, 'cache'), { recursive: true });
  const fetched: Omit<Parts, 'dist'>[] = [];
  for (const architecture of request.architectures) {
    say(`fetching packages of Debian ${debianRelease} for ${architecture}`);
    const packages = await unpacked(request, architecture);
    say(`fetching Node.js for ${architecture}`);
    const node = await fetchNode(tool, architecture, { root, folder: join(out, 'cache') });
    fetched.push({ architecture, packages, node });
  }
  say('compiling the programs');
  const dist = await compile(request);
  const layouts = new Map<Recipe, Map<Architecture, RootFileSystem>>();
  for (const parts of fetched) {
    const { architecture } = parts;
    say(`laying out the root file systems for ${architecture}`);
    for (const recipe of request.recipes) {
      const folder = join(out, `${recipe.name}-${architecture}`);
      const laidOut = await layOut(tool, recipe, { ...parts, dist }, folder);
      checkSize(recipe, architecture, laidOut);
      await archive(tool, folder, `${folder}.tar`, epoch);
      layouts.set(recipe, (layouts.get(recipe) ?? new Map()).set(architecture, laidOut));
    }
  }
  const integrity = readIntegrity(root);
  const built: BuiltImage[] = [];
  await emptyStorage(tool, out);
  for (const [recipe, contents] of layouts) {
    const name = `assay-${recipe.name}`;
    say(`making the image ${name}`);
    const image = await makeImage(tool, {
      name,
      tag: version,
      containerfile: join(root, `manifests/images/${recipe.name}.Containerfile`),
      architectures: request.architectures,
      folder: out,
      epoch,
      values: { VERSION: version, REVISION: revision, DEBIAN: `debian ${debianRelease}` },
    });
    const architectures = [...contents].map(([architecture, content]) => {
      const [digest, archive] = [image.manifests[architecture], image.archives[architecture]];
      if (digest === undefined || archive === undefined)
        throw new Error(`${name} has no image for ${architecture}`);
      const sbom = join(out, `${name}-${architecture}.spdx.json`);
      const document = sbomOf({ image: name, version, architecture, digest, epoch, content, integrity });
      writeFileSync(sbom, `${JSON.stringify(document, null, 2)}\n`);
      const sizes = Object.fromEntries(
        Object.entries(content.sizes).sort(([, one], [, other]) => other - one),
      );
      const rootFileSystem = content.folder;
      return [
        architecture,
        { digest, archive, bytes: bytesOf(content), sizes, sbom, rootFileSystem },
      ] as const;
    });
    built.push({
      name,
      tag: version,
      digest: image.digest,
      layout: image.folder,
      archive: image.archive,
      maxBytes: recipe.maxBytes,
      architectures: Object.fromEntries(architectures),
    });
  }
  return built;
}

/** @throws Error with what fills the image */
export function checkSize(
  { name, maxBytes }: Pick<Recipe, 'name' | 'maxBytes'>,
  architecture: string,
  content: Pick<RootFileSystem, 'sizes'>,
): void {
  const bytes = bytesOf(content);
  if (bytes <= maxBytes) return;
  const most = Object.entries(content.sizes)
    .sort(([, one], [, other]) => other - one)
    .slice(0, 5)
    .map(([source, size]) => `${source} ${megabytes(size)}`);
  throw new Error(
    `the ${name}'s image for ${architecture} holds ${megabytes(bytes)}, and ${megabytes(maxBytes)} are allowed: ${most.join(', ')}`,
  );
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function bytesOf({ sizes }: Pick<RootFileSystem, 'sizes'>): number {
  return Object.values(sizes).reduce((sum, bytes) => sum + bytes, 0);
}

/** What is built, and when that was written: two builds of one commit are the same bytes. */
export async function readCommit({
  root,
  tool,
  epoch,
}: Pick<BuildRequest, 'root' | 'tool' | 'epoch'>): Promise<{ revision: string; epoch: number }> {
  const git = (...args: readonly string[]) =>
    tool('git', ['-C', root, ...args]).catch((cause: unknown) => {
      throw new Error('this is built in a clone: git does not say which commit this is', { cause });
    });
  const changed = (await git('status', '--porcelain', '--untracked-files=no')).trim() !== '';
  const revision = `${(await git('rev-parse', 'HEAD')).trim()}${changed ? '-changed' : ''}`;
  return { revision, epoch: epoch ?? Number(await git('log', '-1', '--format=%ct')) };
}

/** Into `programs` below `out`. */
export async function compile({
  root,
  out,
  tool,
}: Pick<BuildRequest, 'root' | 'out' | 'tool'>): Promise<string> {
  const dist = join(out, 'programs');
  rmSync(dist, { recursive: true, force: true });
  await tool(process.execPath, [join(root, 'swtpm-fixtures/set-up/build.ts'), '--out', dist]);
  return dist;
}

async function unpacked(
  { out, tool, places, recipes }: BuildRequest,
  architecture: Architecture,
): Promise<readonly Unpacked[]> {
  const packages = new Set(recipes.flatMap(({ debian }) => debian.map((one) => one.package)));
  const fetched = await fetchDebianPackages(tool, {
    architecture,
    release: debianRelease,
    packages: [...packages].sort(),
    folder: join(out, 'cache', `apt-${architecture}`),
    places,
  });
  return unpackAll(tool, fetched, join(out, 'cache', `unpacked-${architecture}`));
}

/** Anew from the archives that were compared with the index: what an earlier build unpacked is compared with nothing. */
export async function unpackAll(
  tool: Tool,
  packages: readonly DebianPackage[],
  folder: string,
): Promise<readonly Unpacked[]> {
  rmSync(folder, { recursive: true, force: true });
  const all: Unpacked[] = [];
  for (const one of packages) {
    const made = join(folder, one.sha256);
    mkdirSync(made, { recursive: true });
    await tool('dpkg-deb', ['--extract', one.file, made]);
    all.push({ ...one, folder: made });
  }
  return all;
}
