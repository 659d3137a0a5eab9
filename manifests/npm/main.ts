import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { start } from 'node-tpm2/run';
import { z } from 'zod';
import { bundledPackages } from '../../swtpm-fixtures/set-up/bundle.ts';
import { epochIn } from '../images/options.ts';
import { readIntegrity } from '../images/package-lock.ts';
import { addressIn, krewManifest } from './krew.ts';
import { packageSbom } from './sbom.ts';

/** `npm run pack`: builds, and makes one file of it for `npm install -g`, with its digest and its SBOM. */
const root = resolve(import.meta.dirname, '../..');
const options = new Command('npm run pack --')
  .description(
    'Compiles the programs, and writes assay-VERSION.tgz for npm install -g, its digest and its SBOM.',
  )
  .option('--pack <folder>', 'where these are written', '.')
  .option('--out <folder>', 'where the programs are compiled, an empty one; default: dist, made anew')
  .option(
    '--uri <address>',
    'where that file will be fetched from: also writes assay.krew.yaml for krew',
    uriIn,
  )
  .option('--no-check', 'leave the types unchecked, where something else checks them')
  .allowExcessArguments(false)
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .parse()
  .opts<{ readonly pack: string; readonly out?: string; readonly uri?: string; readonly check: boolean }>();

const described = z.object({ name: z.string(), version: z.string(), description: z.string() });

try {
  const epoch = epochIn(process.env.SOURCE_DATE_EPOCH) ?? Math.floor(Date.now() / 1000);
  const [folder, programs] = [resolve(root, options.pack), resolve(root, options.out ?? 'dist')];
  await run('build', process.execPath, [
    join(root, 'swtpm-fixtures/set-up/build.ts'),
    ...(options.out === undefined ? [] : ['--out', programs]),
    ...(options.check ? [] : ['--no-check']),
  ]);
  const read = (file: string): unknown => JSON.parse(readFileSync(join(programs, file), 'utf8'));
  const { name, version, description } = described.parse(read('package.json'));
  mkdirSync(folder, { recursive: true });
  await run('npm pack', 'npm', ['pack', programs, '--pack-destination', folder, '--loglevel=error']);
  const file = join(folder, `assay-${version}.tgz`);
  renameSync(join(folder, `${name}-${version}.tgz`), file);
  const bytes = readFileSync(file);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  writeFileSync(`${file}.sha256`, `${sha256}  ${basename(file)}\n`);
  const bundled = bundledPackages.parse(read('bundled-packages.json'));
  const sbom = packageSbom({ version, sha256, epoch, bundled, integrity: readIntegrity(root) });
  writeFileSync(join(folder, `assay-${version}.spdx.json`), `${JSON.stringify(sbom, null, 2)}\n`);
  if (options.uri !== undefined)
    writeFileSync(
      join(folder, 'assay.krew.yaml'),
      krewManifest({ version, description, uri: options.uri, sha256 }),
    );
  const size = (bytes.length / 1e6).toFixed(1);
  process.stderr.write(`pack: ${file} has ${size} MB; install it with npm install -g ${file}\n`);
} catch (error) {
  process.stderr.write(`pack: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

function uriIn(text: string): string {
  try {
    return addressIn(text);
  } catch {
    throw new InvalidArgumentError('not an address of https');
  }
}

async function run(name: string, program: string, args: readonly string[]): Promise<void> {
  const child = start(program, args, { stdio: ['ignore', 2, 2] });
  const [code, signal] = await once(child, 'exit');
  if (code !== 0) throw new Error(`${name} ended with ${code ?? signal}`);
}
