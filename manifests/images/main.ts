import { resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { type BuiltImage, buildImages, megabytes } from './build.ts';
import { type Architecture, architectures, recipes } from './recipe.ts';
import { toolWith } from './tool.ts';

/** `npm run images`: builds the container images, and says what fills them. docs/images.md has the rest. */
const root = resolve(import.meta.dirname, '../..');
/** What programs that fetch need to know: where they keep what they have, and the way out. */
const handedOn =
  /^(HOME|TMPDIR|XDG_RUNTIME_DIR|(https?|no)_proxy|NODE_EXTRA_CA_CERTS|npm_config_(cache|registry|userconfig|offline))$/i;
const env = Object.fromEntries(
  Object.entries(process.env).flatMap(([name, value]) =>
    handedOn.test(name) && value !== undefined ? [[name, value] as const] : [],
  ),
);

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
    tool: toolWith(env),
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

function architecturesIn(text: string): readonly Architecture[] {
  const names = text.split(',');
  const known = names.filter((name): name is Architecture => Object.hasOwn(architectures, name));
  if (known.length === 0 || known.length !== new Set(names).size)
    throw new InvalidArgumentError(`not a list of ${Object.keys(architectures).join(' and ')}`);
  return known;
}

/** https://reproducible-builds.org/specs/source-date-epoch/ */
function epochIn(text: string | undefined): number | null {
  if (text === undefined || text === '') return null;
  if (!/^\d{1,11}$/.test(text)) throw new Error(`SOURCE_DATE_EPOCH is no number of seconds: ${text}`);
  return Number(text);
}
