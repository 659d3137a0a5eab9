import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it } from 'mocha';
import { run } from 'node-tpm2/run';

const npmrc = join(import.meta.dirname, '..', '..', '.npmrc');

describe('a package that is installed', () => {
  it('runs no script of its own by the settings of this repository, and does by others (row 131)', async () => {
    assert.equal(await scriptRuns(true), false);
    // Else the test would show nothing.
    assert.equal(await scriptRuns(false), true);
  });
});

async function scriptRuns(bySettings: boolean): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), 'assay-install-'));
  const inFolder = (...names: string[]) => join(folder, ...names);
  const npm = (cwd: string, ...args: string[]) =>
    run('npm', [...args, '--offline', '--no-audit', '--no-fund', '--prefix', cwd], {
      timeoutMs: 60_000,
      maxOutputBytes: 1 << 20,
      env: {
        PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
        HOME: folder,
        npm_config_cache: inFolder('cache'),
      },
    });
  try {
    await mkdir(inFolder('stranger'));
    await mkdir(inFolder('here'));
    const marker = inFolder('it-ran');
    const scripts = { postinstall: `node -e "require('fs').writeFileSync('${marker}', '')"` };
    await writeFile(
      inFolder('stranger', 'package.json'),
      JSON.stringify({ name: 'stranger', version: '1.0.0', scripts }),
    );
    await npm(inFolder('stranger'), 'pack', inFolder('stranger'), '--pack-destination', folder);
    await writeFile(inFolder('here', 'package.json'), JSON.stringify({ name: 'here', version: '1.0.0' }));
    if (bySettings) await copyFile(npmrc, inFolder('here', '.npmrc'));
    await npm(inFolder('here'), 'install', inFolder('stranger-1.0.0.tgz'));
    assert(existsSync(inFolder('here', 'node_modules', 'stranger')));
    return existsSync(marker);
  } finally {
    await rm(folder, { recursive: true });
  }
}
