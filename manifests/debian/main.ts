import { resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { architecturesIn, epochIn } from '../images/options.ts';
import type { Architecture } from '../images/recipe.ts';
import { fetchingTool } from '../images/tool.ts';
import { buildPackages } from './build.ts';

/** `npm run debs`: builds the packages for Debian, and names them. docs/install.md has the rest. */
const root = resolve(import.meta.dirname, '../..');
const { architectures, revision, out } = new Command('npm run debs --')
  .description(
    'Builds the Debian packages assay-server and assay-agent, with the pinned Node.js in them. It takes a minute or two.',
  )
  .option('--architectures <list>', 'of amd64 and arm64; any is built on any machine', architecturesIn, [
    'amd64',
    'arm64',
  ] as const)
  .option(
    '--revision <text>',
    'of the packages, where this version of Assay is packed another time: 2 makes VERSION-2',
    revisionIn,
    null,
  )
  .option('--out <folder>', 'where packages and a cache are written', 'debs')
  .allowExcessArguments(false)
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .parse()
  .opts<{
    readonly architectures: readonly Architecture[];
    readonly revision: string | null;
    readonly out: string;
  }>();
try {
  const built = await buildPackages({
    root,
    out: resolve(root, out),
    architectures,
    revisions: [revision],
    epoch: epochIn(process.env.SOURCE_DATE_EPOCH),
    tool: fetchingTool(process.env),
    say: (text) => process.stderr.write(`debs: ${text}\n`),
  });
  for (const { file, bytes } of built)
    process.stdout.write(`${file} has ${(bytes / 1e6).toFixed(1)} MB; install it with apt install ${file}\n`);
} catch (error) {
  for (let fault = error; fault instanceof Error; fault = fault.cause)
    process.stderr.write(`debs: ${fault.message.trim().split('\n').slice(-6).join('\n      ')}\n`);
  process.exitCode = 1;
}

function revisionIn(text: string): string {
  if (!/^[A-Za-z0-9+.~]+$/.test(text))
    throw new InvalidArgumentError('it has letters, digits, and the marks + . ~');
  return text;
}
