import { createHash } from 'node:crypto';
import { createReadStream, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { readSources, type SourcesPlaces } from './debian-sources.ts';
import type { Tool } from './tool.ts';

/** A package of Debian, as its signed index describes it. */
export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  /** The source package, and its version where that is another. */
  readonly source: { readonly name: string; readonly version: string };
  readonly sha256: string;
  readonly file: string;
}

/**
 * Fetches packages and all that they depend on, of any architecture. apt does it in a folder of its own: it checks
 * the signature of the index and the digests in it, and the machine's packages play no part.
 * @throws Error where a package is not to be had, or is another one than the index says
 */
export async function fetchDebianPackages(
  tool: Tool,
  request: {
    readonly architecture: string;
    readonly release: string;
    readonly packages: readonly string[];
    readonly folder: string;
    readonly places: SourcesPlaces;
  },
): Promise<readonly DebianPackage[]> {
  const { architecture, folder, packages } = request;
  const options = prepare(request);
  await tool('apt-get', [...options, 'update']).catch((cause: unknown) => {
    throw new Error(`the index of Debian ${request.release} (${architecture}) could not be fetched`, {
      cause,
    });
  });
  const install = ['--yes', '--no-install-recommends', '--download-only', 'install', ...packages];
  await tool('apt-get', [...options, ...install]).catch((cause: unknown) => {
    throw new Error(`packages of Debian ${request.release} (${architecture}) could not be fetched`, {
      cause,
    });
  });
  const plan = await tool('apt-get', [
    ...options,
    '--simulate',
    '--no-install-recommends',
    'install',
    ...packages,
  ]);
  const chosen = [...plan.matchAll(/^Inst (\S+) \((\S+) .*\[(\S+)\]\)/gm)].map(
    ([, name = '', version = '']) => ({
      name: name.replace(/:.*/, ''),
      version,
    }),
  );
  if (chosen.length === 0) throw new Error('apt-get names no package that it would install');
  const shown = await tool('apt-cache', [
    ...options,
    'show',
    ...chosen.map(({ name, version }) => `${name}=${version}`),
  ]);
  const found = parseIndex(shown);
  const archives = join(folder, 'cache/archives');
  return Promise.all(
    chosen.map(async ({ name, version }) => {
      const described = found.find((one) => one.name === name && one.version === version);
      if (described === undefined)
        throw new Error(`the index of Debian does not describe ${name} ${version}`);
      const file = archiveOf(archives, described);
      const sha256 = await sha256Of(file);
      if (sha256 !== described.sha256) {
        // apt takes one of the right size from its cache as it is.
        rmSync(file);
        throw new Error(
          `${basename(file)} has SHA-256 ${sha256}, and the signed index says ${described.sha256}: it is removed, build again`,
        );
      }
      return { ...described, file };
    }),
  );
}

/** The options by which apt knows nothing of this machine but where Debian is. */
function prepare(request: {
  readonly architecture: string;
  readonly release: string;
  readonly folder: string;
  readonly places: SourcesPlaces;
}): readonly string[] {
  const { architecture, folder } = request;
  // apt checks an index when it fetches it, and never again: what an earlier build left could be anybody's.
  for (const left of ['state', 'cache/packages.bin', 'cache/sources.bin'])
    rmSync(join(folder, left), { recursive: true, force: true });
  for (const made of ['state/lists/partial', 'cache/archives/partial'])
    mkdirSync(join(folder, made), { recursive: true });
  writeFileSync(join(folder, 'state/status'), '');
  writeFileSync(join(folder, 'debian.sources'), readSources(request.release, request.places));
  const settings = {
    'Dir::State': join(folder, 'state'),
    'Dir::State::status': join(folder, 'state/status'),
    'Dir::Cache': join(folder, 'cache'),
    'Dir::Cache::pkgcache': 'packages.bin',
    'Dir::Cache::srcpkgcache': 'sources.bin',
    'Dir::Etc::sourcelist': join(folder, 'debian.sources'),
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::Etc::preferences': '/dev/null',
    'Dir::Etc::preferencesparts': '/dev/null',
    'APT::Architecture': architecture,
    'APT::Architectures': architecture,
    'APT::Get::AllowUnauthenticated': 'false',
    'Acquire::AllowInsecureRepositories': 'false',
    // The folder may be one that only this user opens.
    'APT::Sandbox::User': 'root',
    'Acquire::Retries': '2',
    // Else it goes on with what it fetched on another day.
    'APT::Update::Error-Mode': 'any',
  };
  return [
    '--quiet',
    ...Object.entries(settings).flatMap(([name, value]) => ['--option', `${name}=${value}`]),
  ];
}

/** Paragraphs of an index, without those that lack what an image says of its packages. */
export function parseIndex(text: string): readonly Omit<DebianPackage, 'file'>[] {
  return text.split(/\n\n+/).flatMap((paragraph) => {
    const field = (name: string) => new RegExp(`^${name}: *(.*)$`, 'm').exec(paragraph)?.[1]?.trim();
    const [name, version, architecture, sha256] = ['Package', 'Version', 'Architecture', 'SHA256'].map(field);
    if (name === undefined || version === undefined || architecture === undefined || sha256 === undefined)
      return [];
    const [, source = name, sourceVersion = version] =
      /^(\S+)(?: \((.+)\))?$/.exec(field('Source') ?? name) ?? [];
    return [{ name, version, architecture, sha256, source: { name: source, version: sourceVersion } }];
  });
}

/** apt writes the colon of an epoch as %3a. */
function archiveOf(folder: string, { name, version, architecture }: Omit<DebianPackage, 'file'>): string {
  const file = join(folder, `${name}_${version.replaceAll(':', '%3a')}_${architecture}.deb`);
  if (!existsSync(file)) throw new Error(`apt did not fetch ${basename(file)}`);
  return file;
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}
