// Node does not strip types below node_modules, so the tarball carries JavaScript: `npm pack --ignore-scripts=false` runs
// `compile` before it reads package.json, and `restore` after it has written the tarball. Else this repository runs no script of a package.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const folder = import.meta.dirname;
const manifest = join(folder, 'package.json');
const kept = join(folder, 'package.source.json');
const dist = join(folder, 'dist');

const verb = process.argv[2];
if (verb === 'compile') compile();
else if (verb === 'restore') restore();
else throw new Error('node pack.mjs compile|restore');

function compile() {
  restore();
  const typescript = createRequire(import.meta.url).resolve('typescript/package.json');
  const tsc = join(dirname(typescript), 'bin', 'tsc');
  execFileSync(process.execPath, [tsc, '-p', join(folder, 'tsconfig.pack.json')], { stdio: 'inherit' });
  const source = readFileSync(manifest, 'utf8');
  const { scripts: _scripts, ...published } = JSON.parse(source);
  published.exports = {
    '.': { types: './dist/index.d.ts', default: './dist/index.js' },
    './lock': { types: './dist/lock.d.ts', default: './dist/lock.js' },
    './pcrs': { types: './dist/pcrs.d.ts', default: './dist/pcrs.js' },
    './run': { types: './dist/run.d.ts', default: './dist/run.js' },
    './package.json': './package.json',
  };
  writeFileSync(kept, source);
  writeFileSync(manifest, `${JSON.stringify(published, null, 2)}\n`);
}

function restore() {
  rmSync(dist, { recursive: true, force: true });
  if (existsSync(kept)) renameSync(kept, manifest);
}
