import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { run } from 'node-tpm2/run';
import type { Fault } from './fault.ts';
import { checkGenerated, makeGenerated } from './generated.ts';
import { checkGit } from './git.ts';
import { checkLicences } from './licences.ts';
import { checkLockfile } from './lockfile.ts';
import { noticeFile, noticeOf } from './notice.ts';
import { checkPacked } from './packed.ts';
import { checkRecordings } from './recordings.ts';
import { readRuntimePackages } from './runtime-packages.ts';
import { checkVersions } from './versions.ts';

/** `npm run release:check`: whether this tree can be released. It changes nothing, but with `--write-notice`. */
const tree = join(import.meta.dirname, '../..');
const { writeNotice } = new Command('npm run release:check --')
  .description('Says what hinders a release of this tree, and what to do; exit 0 where nothing does, else 1.')
  .option('--write-notice', `write ${noticeFile} anew, and check nothing`)
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .parse()
  .opts<{ readonly writeNotice?: true }>();

const checks: readonly (readonly [name: string, () => readonly Fault[] | Promise<readonly Fault[]>])[] = [
  ['one version everywhere', () => checkVersions(tree)],
  ['everything committed, tag free', () => checkGit(tree)],
  ['lockfile', () => checkLockfile(tree)],
  ['licences', () => checkLicences(tree)],
  ['generated files', async () => checkGenerated(tree, await makeGenerated())],
  ['recordings of this version', () => checkRecordings(tree)],
  ['packed files', checkBuilt],
];

if (writeNotice === true) writeFileSync(join(tree, noticeFile), noticeOf(readRuntimePackages(tree)));
else
  for (const [name, check] of checks) {
    const faults = await check();
    process.stdout.write(`${faults.length === 0 ? 'ok    ' : 'FAILED'}  ${name}\n`);
    for (const { what, next } of faults) process.stdout.write(`        ${what}\n          ${next}\n`);
    if (faults.length > 0) process.exitCode = 1;
  }

async function checkBuilt(): Promise<readonly Fault[]> {
  const built = mkdtempSync(join(tmpdir(), 'assay-release-'));
  try {
    const build = join(tree, 'swtpm-fixtures/set-up/build.ts');
    await run(process.execPath, [build, '--out', built], { timeoutMs: 300_000, maxOutputBytes: 1024 * 1024 });
    return checkPacked(built, tree);
  } finally {
    rmSync(built, { recursive: true });
  }
}
