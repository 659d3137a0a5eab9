import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { Command } from 'commander';
import { start } from 'node-tpm2/run';
import { z } from 'zod';
import { agentFlags, flagsOfAnyNode } from './agent-flags.ts';

/**
 * `npm run build`: a package of plain JavaScript, file for file, with what it reads at run time, the packages that it
 * needs, and a launcher for each program. `npm run pack` makes one file of it, for `npm install -g`.
 */
const root = join(import.meta.dirname, '../..');
const {
  out: named,
  pack: destination,
  check,
} = new Command('npm run build --')
  .description('Compiles assay, assay-server and assay-agent to plain JavaScript.')
  .option('--out <folder>', 'an empty one; default: dist, made anew')
  .option('--pack <folder>', 'also write a file there that npm installs')
  .option('--no-check', 'leave the types unchecked, where something else checks them')
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .parse()
  .opts<{ readonly out?: string; readonly pack?: string; readonly check: boolean }>();
const out = resolve(root, named ?? 'dist');

/** What starts each command; a kubectl plugin is found by its name. */
const commands = {
  assay: 'assay.js',
  'assay-server': 'assay-server.js',
  'assay-agent': 'assay-agent.js',
  'assay-cloud-aws': 'assay-cloud-aws.js',
  'assay-cloud-gce': 'assay-cloud-gce.js',
  'kubectl-assay': 'assay.js',
};

/** Registries take no capital letters in new names. */
const unpublishable = 'Assay';

const described = z.object({
  version: z.string(),
  description: z.string(),
  license: z.string(),
  dependencies: z.record(z.string(), z.string()),
  optionalDependencies: z.record(z.string(), z.string()),
});
const locked = z.object({
  packages: z.record(
    z.string(),
    z.object({ dev: z.boolean().optional(), optional: z.boolean().optional(), link: z.boolean().optional() }),
  ),
});
const parsed = <T>(file: string, schema: z.ZodType<T>): T =>
  schema.parse(JSON.parse(readFileSync(join(root, file), 'utf8')));

try {
  makeEmpty(out);
  const unchecked = check ? [] : ['--noCheck'];
  await compile('-p', join(root, 'tsconfig.build.json'), '--outDir', out, ...unchecked);
  for (const file of globSync('**/*.js', { cwd: out })) bindNodeTpm2(join(out, file));
  const readAtRunTime = ['attest-server/**/*.{pem,yaml}', 'attest-server/policy/file/policy.schema.json'];
  const beside = [
    'attest-server/cli/assay.mjs',
    'LICENSE',
    '{attest-server,agent,agent/gate}/config.schema.json',
    'THIRD-PARTY-LICENSES.txt',
    '{README,SECURITY,CHANGELOG}.md',
    'docs/{,runbooks/}*.md',
    'manifests/{host,prometheus}/*.{conf,json,path,service,timer,yaml}',
    'manifests/{base,chart,examples}/**/*.{json,md,tpl,txt,yaml}',
    'manifests/chart/.helmignore',
  ];
  for (const file of globSync([...readAtRunTime, ...beside], { cwd: root })) copy(file);
  copyPackages();
  leaveOutLocales();
  await leaveOutComments('zod');
  await leaveOutComments('@kubernetes/client-node');
  writeFileSync(join(out, 'package.json'), packageJson());
  writeProgram('assay.js', "#!/usr/bin/env node\nimport './attest-server/cli/assay.mjs';\n");
  writeProgram('assay-server.js', startOf('assay-server', './attest-server/main.js'));
  writeProgram('assay-agent.js', startOf('assay-agent', './agent/main.js'));
  for (const cloud of ['aws', 'gce'])
    writeProgram(
      `assay-cloud-${cloud}.js`,
      startOf(`assay-cloud-${cloud}`, `./manifests/cloud/${cloud}/main.js`),
    );
  for (const [name, start] of Object.entries(commands)) writeProgram(`bin/${name}`, launcher(name, start));
  process.stderr.write(`build: the programs are in ${join(out, 'bin')}\n`);
  if (destination !== undefined) await pack(resolve(root, destination));
} catch (error) {
  process.stderr.write(`build: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

/** Our own dist is made anew. Another folder may hold anything: it has to be empty. */
function makeEmpty(folder: string): void {
  if (named === undefined) rmSync(folder, { recursive: true, force: true });
  else if (existsSync(folder) && readdirSync(folder).length > 0) throw new Error(`${folder} is not empty`);
  mkdirSync(folder, { recursive: true });
}

async function run(name: string, program: string, args: readonly string[]): Promise<void> {
  const child = start(program, args, { stdio: ['ignore', 2, 2] });
  const [code, signal] = await once(child, 'exit');
  if (code !== 0) throw new Error(`${name} ended with ${code ?? signal}`);
}

async function compile(...args: readonly string[]): Promise<void> {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  await run('tsc', process.execPath, [tsc, '--pretty', 'false', '--singleThreaded', ...args]);
}

/** `node-tpm2` would be looked for in node_modules, where its files are TypeScript: it stands at its own path here. */
function bindNodeTpm2(file: string): void {
  const text = readFileSync(file, 'utf8');
  const bound = text.replace(
    /(\bfrom |\bimport |\bimport\()(['"])node-tpm2(?:\/([\w-]+))?\2/g,
    (_match, before: string, quote: string, entry = 'index') => {
      const path = relative(dirname(file), join(out, 'agent/node-tpm2', `${entry}.js`));
      return `${before}${quote}${path.startsWith('.') ? path : `./${path}`}${quote}`;
    },
  );
  if (bound !== text) writeFileSync(file, bound);
}

function copy(file: string): void {
  mkdirSync(dirname(join(out, file)), { recursive: true });
  copyFileSync(join(root, file), join(out, file));
}

/**
 * The packages that run beside ours, as package-lock.json has them: what is installed is what was tested, nobody is asked
 * for them by name, and none warns of a Node that only starts the launcher. What only a compiler or debugger reads stays here,
 * and so does machine code (`prebuilds`): all of it is for another runtime than Node.
 */
function copyPackages(): void {
  const isUnread =
    /^\/(test|tests|specs|benchmarks|browser|docs|node_modules|prebuilds|\.github)(\/|\.js$|$)|\.([mc]?ts|map)$/;
  for (const [path, { dev, optional, link }] of Object.entries(
    parsed('package-lock.json', locked).packages,
  )) {
    const from = join(root, path);
    if (!path.startsWith('node_modules/') || dev || optional || link) continue;
    cpSync(from, join(out, path), {
      recursive: true,
      filter: (file) => !isUnread.test(file.slice(from.length)),
    });
  }
}

/** Zod's messages in fifty languages, of which none is asked for but English: each program would load and keep them. */
function leaveOutLocales(): void {
  const folder = join(out, 'node_modules/zod/v4/locales');
  const english = "export { default as en } from './en.js';\n";
  if (!readFileSync(join(folder, 'index.js'), 'utf8').includes('export { default as en } from'))
    throw new Error('zod has its languages elsewhere: leaveOutLocales is to be mended');
  for (const file of readdirSync(folder)) if (file !== 'en.js') rmSync(join(folder, file));
  writeFileSync(join(folder, 'index.js'), english);
}

/** A program keeps the text of each module that it loads. Of zod and the cluster's client more than half is comments, and they make it two bytes a letter. */
async function leaveOutComments(name: string): Promise<void> {
  const from = join(out, 'with-comments');
  const to = join(out, 'node_modules', name);
  renameSync(to, from);
  cpSync(from, to, { recursive: true });
  await compile(
    ...['--ignoreConfig', '--allowJs', '--noCheck', '--noResolve', '--removeComments', '--types', ''],
    ...['--target', 'esnext', '--module', 'preserve', '--rootDir', from, '--outDir', to],
    ...globSync('**/*.js', { cwd: from }).map((file) => join(from, file)),
  );
  rmSync(from, { recursive: true });
}

/** No name in it is node-tpm2. The pinned Node alone is asked for: it is not of every machine, and large. */
function packageJson(): string {
  const { dependencies, ...source } = parsed('package.json', described);
  const manifest = {
    // A name that nobody can publish: under any other, `npm update -g` would take a stranger's package for the next version.
    name: unpublishable,
    version: source.version,
    description: source.description,
    license: source.license,
    private: true,
    type: 'module',
    // What npm runs by. The launchers bring the Node that the programs need, or say which it is.
    engines: { node: '>=20' },
    bin: Object.fromEntries(Object.keys(commands).map((name) => [name, `bin/${name}`])),
    dependencies,
    bundleDependencies: Object.keys(dependencies),
    optionalDependencies: source.optionalDependencies,
  };
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

function writeProgram(name: string, text: string): void {
  mkdirSync(dirname(join(out, name)), { recursive: true });
  writeFileSync(join(out, name), text);
  chmodSync(join(out, name), 0o755);
}

/** An older Node would stop at syntax that it does not know: it is named first. */
function startOf(program: string, main: string): string {
  return `#!/usr/bin/env node
if (Number(process.versions.node.split('.')[0]) >= 24) await import('${main}');
else {
  process.stderr.write(\`${program}: this is Node \${process.versions.node}, and Node 24 or newer is needed: install it, or install assay with its optional packages\\n\`);
  process.exitCode = 1;
}
`;
}

/** A shell that becomes the program: no second process, and no wait for the machine's Node. */
function launcher(name: string, start: string): string {
  const flagsOf = (flags: readonly string[]) =>
    name === 'assay-agent' ? flags.map((flag) => ` ${flag}`).join('') : '';
  return `#!/bin/sh
# Starts ${name} with the Node.js that it is tested with, a package of its own; else with the machine's.
package=$(readlink -f "$0") && package=\${package%/bin/*}
case $(uname -m) in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) arch=other ;; esac
# Beside the package only where npm put it: elsewhere anybody's program may lie there.
beside=\${package%/*}
[ "\${beside##*/}" = node_modules ] || beside=
for modules in "$package/node_modules" \${beside:+"$beside"}; do
  node=$modules/node-linux-$arch/bin/node
  if [ -x "$node" ]; then exec "$node"${flagsOf(agentFlags)} "$package/${start}" "$@"; fi
done
if command -v node >/dev/null; then exec node${flagsOf(flagsOfAnyNode)} "$package/${start}" "$@"; fi
echo "${name}: there is no Node.js, and 24 or newer is needed: install it, or install assay with its optional packages" >&2
exit 1
`;
}

async function pack(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  await run('npm pack', 'npm', ['pack', out, '--pack-destination', folder, '--loglevel=error']);
  const { version } = parsed('package.json', described);
  const file = join(folder, `assay-${version}.tgz`);
  renameSync(join(folder, `${unpublishable}-${version}.tgz`), file);
  const size = (statSync(file).size / 1e6).toFixed(1);
  process.stderr.write(`pack: ${file} has ${size} MB; install it with npm install -g ${file}\n`);
}
