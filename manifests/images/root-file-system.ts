import {
  chmodSync,
  copyFileSync,
  globSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import type { BundledPackage } from '../../swtpm-fixtures/set-up/bundle.ts';
import type { DebianPackage } from './debian-packages.ts';
import type { NodeProgram } from './node-program.ts';
import { programsOf } from './programs.ts';
import { type Architecture, architectures, type Recipe } from './recipe.ts';
import type { Tool } from './tool.ts';

export interface Unpacked extends DebianPackage {
  /** Where its files lie. */
  readonly folder: string;
}

export interface RootFileSystem {
  readonly folder: string;
  /** Those of which a file is in it. */
  readonly debian: readonly Unpacked[];
  readonly npm: readonly BundledPackage[];
  /** null: nothing in it is of Node.js. */
  readonly node: NodeProgram | null;
  /** Bytes of its files, by where they come from. */
  readonly sizes: Readonly<Record<string, number>>;
}

export interface Parts {
  readonly architecture: Architecture;
  readonly packages: readonly Unpacked[];
  readonly node: NodeProgram;
  /** What `npm run build` wrote. */
  readonly dist: string;
}

/** Where the programs lie in the image. */
const home = 'usr/lib/assay';

/**
 * Lays out what an image holds: the files that the recipe names, the libraries that these need, and what says which
 * packages they are of. Nothing of it is run.
 * @throws Error where a package lacks what the recipe names, or a library is in none of the packages
 */
export async function layOut(
  tool: Tool,
  recipe: Recipe,
  parts: Parts,
  folder: string,
): Promise<RootFileSystem> {
  rmSync(folder, { recursive: true, force: true });
  const tree = new Tree(folder);
  const usedBy = new Map<Unpacked, Set<string>>();
  const take = (from: Unpacked, file: string) => {
    const used = usedBy.get(from) ?? new Set();
    usedBy.set(from, used);
    for (const path of withTargets(from.folder, file)) {
      tree.copy(join(from.folder, path), path, from.name);
      used.add(path);
    }
  };
  const named = namedFiles(recipe, parts);
  for (const { from, file } of named) take(from, file);
  const node = Object.keys(recipe.commands).length === 0 ? null : parts.node;
  if (node !== null) {
    tree.copy(node.program, 'usr/bin/node', 'Node.js', 0o755);
    tree.copy(node.licence, 'usr/share/doc/node/LICENSE', 'Node.js');
  }
  // What the recipe names lies where its program looks for it.
  const found = new Set(named.map(({ file }) => basename(file)));
  await takeLibraries(tool, tree, { parts, found, take });
  const npm = node === null ? [] : layOutPrograms(tree, recipe, parts.dist);
  const debian = [...usedBy.keys()].sort((one, other) => (one.name < other.name ? -1 : 1));
  for (const one of debian)
    tree.copy(copyrightOf(one, parts.packages), `usr/share/doc/${one.name}/copyright`, one.name);
  await describePackages(tool, tree, debian);
  describeUsers(tree, recipe);
  for (const [made, mode] of Object.entries(recipe.folders)) tree.folder(made, mode);
  return { folder, debian, npm, node, sizes: tree.sizes };
}

/** A tree of files of which all belong to root, and the bytes of each source. */
class Tree {
  readonly root: string;
  readonly sizes: Record<string, number> = {};
  readonly programs: string[] = [];

  constructor(root: string) {
    this.root = root;
    this.folder('', 0o755);
  }

  folder(path: string, mode = 0o755): void {
    const missing: string[] = [];
    for (let above = join(this.root, path); ; above = dirname(above)) {
      if (statSync(above, { throwIfNoEntry: false })?.isDirectory()) break;
      missing.unshift(above);
    }
    for (const made of missing) {
      mkdirSync(made);
      chmodSync(made, 0o755);
    }
    chmodSync(join(this.root, path), mode);
  }

  /** A link stays a link. No file keeps the right to become another user. */
  copy(from: string, path: string, source: string, mode?: number): void {
    const found = lstatSync(from);
    const to = join(this.root, path);
    if (lstatSync(to, { throwIfNoEntry: false }) !== undefined) return;
    this.#parent(path);
    if (found.isSymbolicLink()) {
      symlinkSync(readlinkSync(from), to);
      return;
    }
    copyFileSync(from, to);
    chmodSync(to, mode ?? ((found.mode & 0o111) === 0 ? 0o644 : 0o755));
    this.#count(source, found.size);
    this.programs.push(path);
  }

  write(path: string, text: string, source: string, mode = 0o644): void {
    this.#parent(path);
    writeFileSync(join(this.root, path), text);
    chmodSync(join(this.root, path), mode);
    this.#count(source, Buffer.byteLength(text));
  }

  link(path: string, target: string): void {
    this.#parent(path);
    symlinkSync(target, join(this.root, path));
  }

  #parent(path: string): void {
    const parent = join(this.root, dirname(path));
    if (statSync(parent, { throwIfNoEntry: false }) === undefined) this.folder(dirname(path));
  }

  #count(source: string, bytes: number): void {
    this.sizes[source] = (this.sizes[source] ?? 0) + bytes;
  }
}

/** The files of Debian that the recipe names, each found in its package. */
function namedFiles(
  recipe: Recipe,
  { architecture, packages }: Parts,
): readonly { readonly from: Unpacked; readonly file: string }[] {
  return recipe.debian.flatMap(({ package: name, files }) => {
    const from = packages.find((one) => one.name === name);
    if (from === undefined) throw new Error(`the recipe ${recipe.name} names ${name}, which was not fetched`);
    return files.flatMap((pattern) => {
      const found = globSync(pattern.replaceAll('LIB', architectures[architecture].lib), {
        cwd: from.folder,
      });
      if (found.length === 0) throw new Error(`${name} ${from.version} (${architecture}) has no ${pattern}`);
      return found.sort().map((file) => ({ from, file }));
    });
  });
}

/** A link, and what it leads to within the same package. */
function withTargets(folder: string, file: string): readonly string[] {
  if (!lstatSync(join(folder, file)).isSymbolicLink()) return [file];
  const target = readlinkSync(join(folder, file));
  const path = target.startsWith('/') ? target.slice(1) : join(dirname(file), target);
  if (lstatSync(join(folder, path), { throwIfNoEntry: false }) === undefined) return [file];
  return [file, ...withTargets(folder, path)];
}

/** Libraries that are needed, and those that these need, until there is none more. */
async function takeLibraries(
  tool: Tool,
  tree: Tree,
  taking: {
    readonly parts: Parts;
    readonly found: Set<string>;
    readonly take: (from: Unpacked, file: string) => void;
  },
): Promise<void> {
  const { found, take } = taking;
  const { architecture, packages } = taking.parts;
  const { lib, machine } = architectures[architecture];
  const places = [`usr/lib/${lib}`, 'usr/lib', 'usr/lib64'];
  for (let from = 0; from < tree.programs.length; ) {
    const files = tree.programs.slice(from).filter((file) => isElf(join(tree.root, file)));
    from = tree.programs.length;
    for (const { name, neededBy } of await neededLibraries(tool, tree.root, files, machine)) {
      if (found.has(name)) continue;
      found.add(name);
      const choices = packages.flatMap((one) =>
        places
          .map((place) => join(place, name))
          .filter((file) => lstatSync(join(one.folder, file), { throwIfNoEntry: false }) !== undefined)
          .map((file) => ({ one, file })),
      );
      const [choice] = choices;
      if (choice === undefined)
        throw new Error(`${neededBy} needs ${name} (${architecture}), which no package of the recipe brings`);
      take(choice.one, choice.file);
    }
  }
}

interface NeededLibrary {
  readonly name: string;
  readonly neededBy: string;
}

/** As `readelf` reads them, of any architecture. @throws Error for a file of another one */
async function neededLibraries(
  tool: Tool,
  root: string,
  files: readonly string[],
  machine: string,
): Promise<readonly NeededLibrary[]> {
  if (files.length === 0) return [];
  // It names no file where it was given one alone.
  const given = [...files, ...files.slice(0, 1)].map((file) => join(root, file));
  const text = await tool('readelf', ['--wide', '--file-header', '--dynamic', ...given]);
  return parseReadelf(text).flatMap(({ file, machine: found, needed }) => {
    const path = relative(root, file);
    if (found !== machine) throw new Error(`${path} is for ${found}, and the image is for ${machine}`);
    return needed.map((name) => ({ name, neededBy: path }));
  });
}

/** One entry a file. */
export function parseReadelf(
  text: string,
): readonly { readonly file: string; readonly machine: string; readonly needed: readonly string[] }[] {
  return text
    .split(/^File: /m)
    .slice(1)
    .map((part) => ({
      file: part.slice(0, part.indexOf('\n')),
      machine: /^ *Machine: *(.+)$/m.exec(part)?.[1]?.trim() ?? '',
      needed: [...part.matchAll(/\(NEEDED\) +Shared library: \[([^\]]+)\]/g)].map(([, name = '']) => name),
    }));
}

function isElf(file: string): boolean {
  const bytes = readFileSync(file);
  return bytes.length > 4 && bytes.readUInt32BE(0) === 0x7f454c46;
}

/** The built programs, which packages are in them, and a name on PATH for each. */
function layOutPrograms(tree: Tree, recipe: Recipe, dist: string): readonly BundledPackage[] {
  const { files, packages } = programsOf(recipe, dist);
  for (const file of files) {
    const started = Object.values(recipe.commands).find(({ start }) => start === file);
    if (started === undefined) tree.copy(join(dist, file), `${home}/${file}`, 'Assay');
    else
      tree.write(
        `${home}/${file}`,
        withFlags(readFileSync(join(dist, file), 'utf8'), started.flags, file),
        'Assay',
        0o755,
      );
  }
  // Scanners find packages by these files.
  for (const { path, name, version, licence } of packages)
    tree.write(
      `${home}/${path}/package.json`,
      JSON.stringify({ name, version, license: licence }),
      'npm packages',
    );
  for (const [name, { start }] of Object.entries(recipe.commands))
    tree.link(`usr/bin/${name}`, `../lib/assay/${start}`);
  return packages;
}

/**
 * The kernel hands all that follows an interpreter over as one argument, and V8's flags stand in no variable and no file that
 * Node reads: `env -S` splits them.
 */
export function withFlags(
  text: string,
  flags: readonly string[],
  file: string,
  node = '/usr/bin/node',
): string {
  const [first = '', ...others] = text.split('\n');
  if (first !== '#!/usr/bin/env node') throw new Error(`${file} does not begin as a program of Node`);
  const line = flags.length === 0 ? `#!${node}` : `#!/usr/bin/env -S ${node} ${flags.join(' ')}`;
  // Linux cuts a longer one off.
  if (line.length > 255) throw new Error(`the first line of ${file} is too long: ${line}`);
  return [line, ...others].join('\n');
}

/** A package may have the folder of another one for its own. */
function copyrightOf(one: Unpacked, packages: readonly Unpacked[]): string {
  const own = join(one.folder, 'usr/share/doc', one.name);
  const shared = lstatSync(own, { throwIfNoEntry: false })?.isSymbolicLink() ? readlinkSync(own) : null;
  const folder = packages.find(({ name }) => name === shared)?.folder ?? one.folder;
  const file = join(folder, 'usr/share/doc', shared ?? one.name, 'copyright');
  if (statSync(file, { throwIfNoEntry: false }) === undefined)
    throw new Error(`${one.name} ${one.version} has no copyright file`);
  return realpathSync(file);
}

/** dpkg's own record of what is installed, which scanners read. There is no dpkg. */
async function describePackages(tool: Tool, tree: Tree, debian: readonly Unpacked[]): Promise<void> {
  const paragraphs: string[] = [];
  for (const { file } of debian) {
    const control = await tool('dpkg-deb', ['--field', file]);
    paragraphs.push(control.trim().replace(/^(Package: .*)$/m, '$1\nStatus: install ok installed'));
  }
  tree.write('var/lib/dpkg/status', `${paragraphs.join('\n\n')}\n`, 'descriptions of packages');
}

function describeUsers(tree: Tree, { user: { name, id } }: Recipe): void {
  const nobody = '/usr/sbin/nologin';
  tree.write('etc/passwd', `root:x:0:0:root:/:${nobody}\n${name}:x:${id}:${id}:Assay:/:${nobody}\n`, 'Assay');
  tree.write('etc/group', `root:x:0:\n${name}:x:${id}:\n`, 'Assay');
  tree.write('etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files dns\n', 'Assay');
  tree.link('etc/os-release', '../usr/lib/os-release');
  for (const top of ['bin', 'sbin', 'lib', 'lib64']) {
    tree.folder(`usr/${top}`);
    tree.link(top, `usr/${top}`);
  }
  for (const mount of ['dev', 'proc', 'sys', 'run']) tree.folder(mount);
}
