import {
  chmodSync,
  copyFileSync,
  globSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { z } from 'zod';
import { compile, readCommit } from '../images/build.ts';
import { fetchNode, type NodeProgram } from '../images/node-program.ts';
import { programsOf } from '../images/programs.ts';
import type { Architecture } from '../images/recipe.ts';
import { withFlags } from '../images/root-file-system.ts';
import type { Tool } from '../images/tool.ts';
import { type DebianRecipe, packages } from './packages.ts';

export interface DebianRequest {
  /** The clone. */
  readonly root: string;
  /** The packages are written there; what they are made of is kept in `cache` below it. */
  readonly out: string;
  readonly architectures: readonly Architecture[];
  /** What follows the version of Assay, where that is packed another time: a package for each; null: nothing follows. */
  readonly revisions: readonly (string | null)[];
  /** Seconds since 1970 of every file; null: the time of the commit. */
  readonly epoch: number | null;
  readonly tool: Tool;
  readonly say: (text: string) => void;
}

export interface BuiltPackage {
  readonly name: string;
  readonly architecture: Architecture;
  readonly version: string;
  readonly file: string;
  readonly bytes: number;
}

/** Makes a package of server and agent for each architecture; nothing of them is run. */
export async function buildPackages(request: DebianRequest): Promise<readonly BuiltPackage[]> {
  const { root, out, tool, say } = request;
  const { version: ofAssay } = z
    .object({ version: z.string() })
    .parse(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')));
  const versions = request.revisions.map((text) => (text === null ? ofAssay : `${ofAssay}-${text}`));
  const { epoch } = await readCommit(request);
  const cache = join(out, 'cache');
  mkdirSync(cache, { recursive: true });
  say('compiling the programs');
  const dist = await compile({ root, out: cache, tool });
  const built: BuiltPackage[] = [];
  for (const architecture of request.architectures) {
    say(`fetching Node.js for ${architecture}`);
    const node = await fetchNode(tool, architecture, { root, folder: cache });
    for (const { recipe, version } of packages.flatMap((recipe) =>
      versions.map((version) => ({ recipe, version })),
    )) {
      const file = join(out, `${recipe.name}_${version}_${architecture}.deb`);
      say(`packing ${basename(file)}`);
      const folder = join(cache, `${recipe.name}-${architecture}`);
      layOut(folder, recipe, { root, dist, node, version, architecture, epoch });
      await tool('env', [
        ...[`SOURCE_DATE_EPOCH=${epoch}`, 'dpkg-deb', '--root-owner-group'],
        // Unpacked in an eighth of the time that xz takes, for a fourteenth more bytes.
        ...['-Zzstd', '-z9', '--build'],
        ...[folder, file],
      ]);
      built.push({ name: recipe.name, architecture, version, file, bytes: statSync(file).size });
    }
  }
  return built;
}

interface Parts {
  readonly root: string;
  readonly dist: string;
  readonly node: NodeProgram;
  readonly version: string;
  readonly architecture: Architecture;
  readonly epoch: number;
}

function layOut(folder: string, recipe: DebianRecipe, parts: Parts): void {
  rmSync(folder, { recursive: true, force: true });
  const { root, dist, node } = parts;
  const host = (name: string) => readFileSync(join(root, 'manifests/host', name), 'utf8');
  const write = (path: string, content: string | Uint8Array, mode = 0o644) => {
    makeFolder(folder, dirname(path));
    writeFileSync(join(folder, path), content);
    chmodSync(join(folder, path), mode);
  };
  makeFolder(folder, 'etc/assay');

  const home = `usr/lib/assay/${recipe.name.replace('assay-', '')}`;
  makeFolder(folder, home);
  copyFileSync(node.program, join(folder, home, 'node'));
  chmodSync(join(folder, home, 'node'), 0o755);
  const started = new Map(Object.values(recipe.recipe.commands).map(({ start, flags }) => [start, flags]));
  for (const file of programsOf(recipe.recipe, dist).files) {
    // They are among the documents.
    if (/^(LICENSE|THIRD-PARTY-LICENSES\.txt)$/.test(file)) continue;
    const text = readFileSync(join(dist, file), 'utf8');
    const flags = started.get(file);
    if (flags === undefined) write(`${home}/${file}`, text, text.startsWith('#!') ? 0o755 : 0o644);
    else write(`${home}/${file}`, withFlags(text, flags, file, `/${home}/node`), 0o755);
  }
  makeFolder(folder, 'usr/bin');
  for (const [name, { start }] of Object.entries(recipe.recipe.commands))
    symlinkSync(`../lib/${home.slice('usr/lib/'.length)}/${start}`, join(folder, 'usr/bin', name));
  for (const [name, target] of Object.entries(recipe.links))
    symlinkSync(target, join(folder, 'usr/bin', name));

  for (const name of [...Object.keys(recipe.recipe.commands), ...Object.keys(recipe.links)])
    write(`usr/share/man/man1/${name}.1.gz`, packed(readFileSync(join(dist, `docs/man/man1/${name}.1`))));

  const units = 'usr/lib/systemd/system';
  for (const unit of [recipe.service, ...recipe.units])
    write(`${units}/${unit}`, unitOf(recipe, unit, host(unit)));
  for (const [name, file] of Object.entries(recipe.dropIns))
    write(`${units}/${recipe.service}.d/${name}`, withPaths(host(file)));
  write(`usr/lib/sysusers.d/${recipe.name}.conf`, host('assay.sysusers.conf'));
  const settings = `/etc/default/${recipe.name}`;
  write(settings.slice(1), `# Variables of ${recipe.service}; they win over ${recipe.config}.\n`);

  const documents = `usr/share/doc/${recipe.name}`;
  write(`${documents}/copyright`, copyrightOf(readFileSync(node.licence, 'utf8')));
  const licences = readFileSync(join(dist, 'THIRD-PARTY-LICENSES.txt'));
  write(`${documents}/THIRD-PARTY-LICENSES.txt.gz`, packed(licences));
  write(`${documents}/changelog.gz`, packed(changelogOf(recipe, parts)));
  write(`usr/share/lintian/overrides/${recipe.name}`, overridesOf(recipe));
  const config = recipe.config.slice('/etc/assay/'.length);
  copyExample(recipe, root, (text) => write(`${documents}/examples/${config}`, text));
  for (const name of recipe.examples) write(`${documents}/examples/${name}`, host(name));

  // dpkg makes the digests of what it unpacks: a package needs no md5sums.
  const bytes = globSync('**/*', { cwd: folder, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
  write('DEBIAN/conffiles', `${settings}\n`);
  write('DEBIAN/control', controlOf(recipe, parts, Math.ceil(bytes / 1024)));
  for (const script of ['postinst', 'prerm', 'postrm'])
    write(
      `DEBIAN/${script}`,
      scriptOf(recipe, readFileSync(join(import.meta.dirname, script), 'utf8')),
      0o755,
    );
}

function packed(text: string | Uint8Array): Buffer {
  return gzipSync(text, { level: 9 });
}

/** The rights of folders do not depend on who builds. */
function makeFolder(root: string, path: string): void {
  let made = root;
  for (const part of ['', ...path.split('/')]) {
    made = join(made, part);
    mkdirSync(made, { recursive: true });
    chmodSync(made, 0o755);
  }
}

/** A program of the same name in /usr/local is not that of the package. */
function withPaths(unit: string): string {
  return unit
    .replace(/^# Found in \/usr\/local\/bin or \/usr\/bin\.(?: (.*))?\n/gm, (_, rest?: string) =>
      rest ? `# ${rest}\n` : '',
    )
    .replace(/^ExecStart=(?=assay-)/gm, 'ExecStart=/usr/bin/');
}

/** A unit of manifests/host as the package has it: it starts once there is a configuration. */
export function unitOf({ service, config, wants }: DebianRecipe, name: string, text: string): string {
  if (optIn.test(name)) return withPaths(text);
  // What a service wants is started even where the service itself is skipped: each unit has the condition.
  const more = [`ConditionPathExists=${config}`];
  if (name === service && wants.length > 0) more.push(`Wants=${wants.join(' ')}`);
  return withPaths(text).replace('[Unit]\n', `[Unit]\n${more.join('\n')}\n`);
}

const gate = 'assay-gate.service';
/** The gate, and the units of disk keys: they have a configuration of their own, and are enabled by people alone. */
const optIn = /^assay-(gate|unlock@|cap|volume@)\./;

/** Stopping a gate would stop kubelet, and one that is enabled and gone would hold kubelet for good. */
const leaveGate = `  if systemctl --quiet is-enabled ${gate} 2>/dev/null; then
    echo "assay-agent: ${gate} no longer holds kubelet back on this machine"
    systemctl disable ${gate} >/dev/null
  fi
`;

/** A boot without it is not capped, gets no key, and starts none of what requires it. */
const leaveCap = `  if systemctl --quiet is-enabled assay-cap.service 2>/dev/null; then
    echo "assay-agent: from the next boot on, volumes of this machine whose keys a server leases open by their recovery passphrases alone"
    echo "assay-agent: to let runtime and kubelet start then: rm /etc/systemd/system/*.service.d/assay-cap.conf"
  fi
`;

/** A script of dpkg, whose words in `@` are filled. */
export function scriptOf({ name, service, units, state }: DebianRecipe, text: string): string {
  const others = units.filter((unit) => !optIn.test(unit));
  // Once a service asks no more, its socket has nobody behind it.
  const stopped = [service, ...others];
  const restarted = [...others.filter((unit) => /(netfilter|broker)\.service$/.test(unit)), service];
  const values: Readonly<Record<string, string>> = {
    PACKAGE: name,
    SERVICE: service,
    STOPPED: stopped.join(' '),
    RESTARTED: restarted.join(' '),
    STATE: state.join(' '),
    GATE: units.includes(gate) ? leaveGate : '',
    CAP: units.includes('assay-cap.service') ? leaveCap : '',
  };
  return text.replace(/@([A-Z]+)@/g, (_, word: string) => {
    const value = values[word];
    if (value === undefined) throw new Error(`a script of the packages has @${word}@, which nothing fills`);
    return value;
  });
}

const maintainer = 'The Assay authors <assay@localhost.invalid>';

function controlOf(recipe: DebianRecipe, { version, architecture }: Parts, kibibytes: number): string {
  const lines = [
    `Package: ${recipe.name}`,
    `Version: ${version}`,
    `Architecture: ${architecture}`,
    `Maintainer: ${maintainer}`,
    `Installed-Size: ${kibibytes}`,
    `Depends: ${recipe.depends.join(', ')}`,
    ...(recipe.recommends.length > 0 ? [`Recommends: ${recipe.recommends.join(', ')}`] : []),
    'Section: admin',
    'Priority: optional',
    `Description: ${recipe.summary}`,
    ...wrapped(recipe.description).map((line) => ` ${line}`),
  ];
  return `${lines.join('\n')}\n`;
}

function wrapped(text: string): readonly string[] {
  return text.match(/.{1,76}(?: |$)/g)?.map((line) => line.trim()) ?? [];
}

function changelogOf({ name }: DebianRecipe, { version, epoch }: Parts): string {
  const date = new Date(epoch * 1000).toUTCString().replace('GMT', '+0000');
  return `${name} (${version}) stable; urgency=medium\n\n  * CHANGELOG.md of Assay says what changed.\n\n -- ${maintainer}  ${date}\n`;
}

/** In the form of Debian's policy. @param licence of Node.js and of all that is linked into it */
function copyrightOf(licence: string): string {
  const lines = licence.trim().split('\n');
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Assay
Comment: THIRD-PARTY-LICENSES.txt.gz has the licences of the npm packages that are in the programs.

Files: *
Copyright: The Assay authors
License: Apache-2.0
 On Debian systems its text is in /usr/share/common-licenses/Apache-2.0.

Files: usr/lib/assay/*/node
Copyright: Node.js contributors, and others that its licence names
License: Node.js
${lines.map((line) => (line.trim() === '' ? ' .' : ` ${line.trimEnd()}`)).join('\n')}
`;
}

/** The Node.js that Assay is tested with is none of Debian's, and so are the programs that it starts. */
function overridesOf({ name }: DebianRecipe): string {
  const tags = ['embedded-library', 'hardening-no-pie', 'wrong-path-for-interpreter'];
  tags.push('missing-dep-for-interpreter', 'unusual-interpreter', 'old-fsf-address-in-copyright-file');
  // Its licence names the whole text among those of its parts.
  tags.push('copyright-file-contains-full-apache-2-license');
  // Which asks whether the gate is enabled.
  if (name === 'assay-agent') tags.push('maintainer-script-calls-systemctl');
  return tags.map((tag) => `${name}: ${tag}\n`).join('');
}

/** The configuration that docs/first-node.md shows. */
function copyExample({ name }: DebianRecipe, root: string, write: (text: string) => void): void {
  const page = readFileSync(join(root, 'docs/first-node.md'), 'utf8');
  const begins = name === 'assay-server' ? 'names:' : 'servers:';
  const text = [...page.matchAll(/^```yaml\n([\s\S]*?)^```/gm)]
    .map(([, yaml = '']) => yaml)
    .find((yaml) => yaml.startsWith(begins));
  if (text === undefined)
    throw new Error(`docs/first-node.md shows no configuration that begins with ${begins}`);
  write(text);
}
