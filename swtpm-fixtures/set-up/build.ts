import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { start } from 'node-tpm2/run';
import { z } from 'zod';
import { agentFlags, assayFlags, flagsOfAnyNode } from './agent-flags.ts';
import { bundlePrograms } from './bundle.ts';
import { copyFiles } from './copied-files.ts';

/**
 * `npm run build`: a package of plain JavaScript, each program with the packages that it needs in as few files as it starts with,
 * what it reads at run time, and a launcher for each program. `npm run pack` makes a file of it (`manifests/npm`).
 */
const root = join(import.meta.dirname, '../..');
const { out: named, check } = new Command('npm run build --')
  .description('Compiles assay, assay-server and assay-agent to plain JavaScript.')
  .option('--out <folder>', 'an empty one; default: dist, emptied first')
  .option('--no-check', 'leave the types unchecked, where something else checks them')
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .parse()
  .opts<{ readonly out?: string; readonly check: boolean }>();
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
  optionalDependencies: z.record(z.string(), z.string()),
});

try {
  makeEmpty(out);
  if (check) await checkTypes();
  const bundled = await bundlePrograms(root, out);
  copyFiles(root, out);
  writeFileSync(join(out, 'bundled-packages.json'), `${JSON.stringify(bundled, null, 2)}\n`);
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

async function checkTypes(): Promise<void> {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  await run('tsc', process.execPath, [tsc, '--pretty', 'false', '--singleThreaded', '--noEmit', '-p', root]);
}

/** No package is asked for but the pinned Node, which is not of every machine, and large. */
function packageJson(): string {
  const source = described.parse(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')));
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
    man: Object.keys(commands).map((name) => `docs/man/man1/${name}.1`),
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
  const flagsOf = (ofAgent: readonly string[]) => {
    const flags = name === 'assay-agent' ? ofAgent : start === 'assay.js' ? assayFlags : [];
    return flags.map((flag) => ` ${flag}`).join('');
  };
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
