import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { type BuiltImage, buildImages, megabytes } from './build.ts';
import { architecturesIn, epochIn } from './options.ts';
import { type Architecture, recipes } from './recipe.ts';
import { fetchingTool } from './tool.ts';

/** `npm run images`: builds the container images, and says what fills them. docs/images.md has the rest. */
const root = resolve(import.meta.dirname, '../..');
interface Options {
  readonly architectures: readonly Architecture[];
  readonly trial: boolean;
  readonly out: string;
  readonly output: 'text' | 'json';
}

const command = new Command('npm run images --')
  .description(
    'Builds the container images assay-agent and assay-server from packages of Debian and npm. It takes one to three minutes.',
  )
  .option('--architectures <list>', 'of amd64 and arm64; any is built on any machine', architecturesIn, [
    'amd64',
    'arm64',
  ] as const)
  .option('--trial', 'assay-tpm-trial, too: a software TPM for clusters in which Assay is tried', false)
  .option('--out <folder>', 'where images, SBOMs and a cache are written', 'images')
  .addOption(
    new Option('-o, --output <format>', 'how the outcome is printed')
      .choices(['text', 'json'])
      .default('text'),
  )
  .allowExcessArguments(false)
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .parse();
const { architectures: chosen, trial, out, output } = command.opts<Options>();

const started = performance.now();
const secondsSince = () => (performance.now() - started) / 1000;
const say = (text: string) =>
  process.stderr.write(`images: ${secondsSince().toFixed(0).padStart(3)} s  ${text}\n`);
try {
  const images = await buildImages({
    root,
    out: resolve(root, out),
    recipes: trial ? Object.values(recipes) : [recipes.agent, recipes.server],
    architectures: chosen,
    epoch: epochIn(process.env.SOURCE_DATE_EPOCH),
    places: {
      apt: '/etc/apt',
      keyrings: ['pgp', 'gpg'].map((ending) => `/usr/share/keyrings/debian-archive-keyring.${ending}`),
    },
    tool: fetchingTool(process.env),
    say,
  });
  const seconds = Math.round(secondsSince());
  say('done');
  process.stdout.write(
    output === 'json' ? `${JSON.stringify({ seconds, images })}\n` : images.map(table).join('\n'),
  );
} catch (error) {
  for (let fault = error; fault instanceof Error; fault = fault.cause)
    process.stderr.write(`images: ${fault.message.trim().split('\n').slice(-6).join('\n        ')}\n`);
  process.exitCode = 1;
}

/** What fills an image: what is smaller than half a megabyte stands in one line. */
function table({ name, tag, digest, layout, archive, maxBytes, architectures: made }: BuiltImage): string {
  const lines = [`${name}:${tag}  ${digest}`, `  ${layout} (OCI layout), ${archive}`];
  for (const [architecture, { bytes, sizes, digest: own, archive: alone, sbom }] of Object.entries(made)) {
    const shown = Object.entries(sizes).filter(([, size]) => size >= 500_000);
    const small = Object.entries(sizes).filter(([, size]) => size < 500_000);
    const others = small.reduce((sum, [, size]) => sum + size, 0);
    const row = (size: number, source: string) => `  ${megabytes(size).padStart(10)}  ${source}`;
    lines.push(
      `  ${architecture}  ${own}`,
      `  ${alone}`,
      `  ${sbom}`,
      ...shown.map(([source, size]) => row(size, source)),
      row(others, `${small.length} others, each below 0.5 MB`),
      row(bytes, `in all; ${megabytes(maxBytes)} are allowed`),
    );
  }
  return `${lines.join('\n')}\n`;
}
