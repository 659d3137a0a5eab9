import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { Command } from 'commander';
import { start } from 'node-tpm2/run';

/**
 * `npm run build`: the three programs as plain JavaScript, file for file, with what they read at run time. Packages
 * are found in a node_modules above them; only node-tpm2 is compiled too, since it is TypeScript here.
 */
const root = join(import.meta.dirname, '../..');
const { out: named } = new Command('npm run build --')
  .description('Compiles assay, assay-server and assay-agent to plain JavaScript.')
  .option('--out <folder>', 'an empty one, below or beside a node_modules; default: dist, made anew')
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .parse()
  .opts<{ readonly out?: string }>();
const out = resolve(root, named ?? 'dist');

try {
  makeEmpty(out);
  await compile();
  for (const file of globSync('**/*.js', { cwd: out })) bindNodeTpm2(join(out, file));
  for (const file of globSync(['attest-server/**/*.{pem,yaml}', 'attest-server/cli/assay.mjs'], {
    cwd: root,
  }))
    copy(file);
  writeFileSync(join(out, 'package.json'), packageJson());
  writeProgram('assay.js', "import './attest-server/cli/assay.mjs';\n");
  writeProgram('assay-server.js', startOf('assay-server', './attest-server/main.js'));
  writeProgram('assay-agent.js', startOf('assay-agent', './agent/main.js'));
  process.stderr.write(`build: assay.js, assay-server.js and assay-agent.js are in ${out}\n`);
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

async function compile(): Promise<void> {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const args = [tsc, '-p', join(root, 'tsconfig.build.json'), '--outDir', out, '--pretty', 'false'];
  const child = start(process.execPath, args, { stdio: ['ignore', 2, 2] });
  const [code, signal] = await once(child, 'exit');
  if (code !== 0) throw new Error(`tsc ended with ${code ?? signal}`);
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

/** What the programs read of it: their version, and that their files are modules. */
function packageJson(): string {
  const { name, version, license, type, engines } = JSON.parse(
    readFileSync(join(root, 'package.json'), 'utf8'),
  );
  return `${JSON.stringify({ name, version, license, private: true, type, engines }, null, 2)}\n`;
}

function writeProgram(name: string, text: string): void {
  writeFileSync(join(out, name), `#!/usr/bin/env node\n${text}`);
  chmodSync(join(out, name), 0o755);
}

/** An older Node would stop at syntax that it does not know: it is named first. */
function startOf(program: string, main: string): string {
  return `if (Number(process.versions.node.split('.')[0]) >= 24) await import('${main}');
else {
  process.stderr.write(\`${program}: this is Node \${process.versions.node}, and Node 24 or newer is needed\\n\`);
  process.exitCode = 1;
}
`;
}
