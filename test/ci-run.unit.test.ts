import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';

/** In a folder of its own, with an npm that says and does what the test wants. */
describe('.ci/run', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-ci-run-'));
    await mkdir(join(folder, '.ci'));
    await mkdir(join(folder, 'bin'));
    await copyFile(join(import.meta.dirname, '../.ci/run'), join(folder, '.ci/run'));
    await script('.ci/as-ordinary-user', 'echo as somebody');
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  async function script(path: string, body: string): Promise<void> {
    await writeFile(join(folder, path), `#!/bin/sh\n${body}\n`);
    await chmod(join(folder, path), 0o755);
  }

  function started(): ReturnType<typeof start> {
    return start(join(folder, '.ci/run'), [], {
      env: { PATH: `${join(folder, 'bin')}:/usr/bin:/bin`, TMPDIR: folder },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  }

  async function run(npm: string): Promise<{ readonly code: unknown; readonly lines: readonly string[] }> {
    await script('bin/npm', npm);
    const child = started();
    let said = '';
    child.stdout?.on('data', (bytes: Buffer) => {
      said += bytes.toString();
    });
    const [code] = await once(child, 'close');
    const lines = said.trimEnd().split('\n');
    return { code, lines: lines.map((line) => line.replace(/ +\d+ s /, ' N s ')) };
  }

  it('ends with the last line of npm test, and before it how each step ended', async () => {
    const { code, lines } = await run('echo "$@ begins"; echo "7 passed, 0 failed, 1 skipped"');
    assert.equal(code, 0);
    assert.deepEqual(lines, [
      '== npm run test:vm',
      'run test:vm begins',
      '7 passed, 0 failed, 1 skipped',
      '== npm run test:images',
      'run test:images begins',
      '7 passed, 0 failed, 1 skipped',
      '== npm run test:long',
      'run test:long begins',
      '7 passed, 0 failed, 1 skipped',
      '== .ci/as-ordinary-user',
      'as somebody',
      '== npm run bench -- --smallest -o json',
      'run bench -- --smallest -o json begins',
      '7 passed, 0 failed, 1 skipped',
      '== npm run bench -- siege --only flood idle-connections',
      'run bench -- siege --only flood idle-connections begins',
      '7 passed, 0 failed, 1 skipped',
      '== npm test',
      'test begins',
      'exit   0 N s  npm run test:vm',
      'exit   0 N s  npm run test:images',
      'exit   0 N s  npm run test:long',
      'exit   0 N s  .ci/as-ordinary-user',
      'exit   0 N s  npm run bench -- --smallest -o json',
      'exit   0 N s  npm run bench -- siege --only flood idle-connections',
      'exit   0 N s  npm test',
      '7 passed, 0 failed, 1 skipped',
    ]);
  });

  it('says again the end of what failed, and ends with the worst exit code', async () => {
    const { code, lines } = await run(`
      if [ "$2" = test:images ]; then seq 50; printf 'no such image' >&2; exit 3; fi
      if [ "$2" = test:vm ]; then echo no machine; exit 1; fi
      echo "7 passed, 0 failed, 1 skipped"`);
    assert.equal(code, 3);
    const numbers = Array.from({ length: 39 }, (_, index) => String(index + 12));
    assert.deepEqual(lines.slice(lines.indexOf('== npm test') + 1), [
      '== the end of what failed: npm run test:vm',
      'no machine',
      '== the end of what failed: npm run test:images',
      ...numbers,
      'no such image',
      'exit   1 N s  npm run test:vm',
      'exit   3 N s  npm run test:images',
      'exit   0 N s  npm run test:long',
      'exit   0 N s  .ci/as-ordinary-user',
      'exit   0 N s  npm run bench -- --smallest -o json',
      'exit   0 N s  npm run bench -- siege --only flood idle-connections',
      'exit   0 N s  npm test',
      '7 passed, 0 failed, 1 skipped',
    ]);
  });

  it('does not wait for what a step left behind', async () => {
    const { code, lines } = await run('sleep 60 & echo $! >>left; echo "7 passed, 0 failed, 1 skipped"');
    const left = (await readFile(join(folder, 'left'), 'utf8')).trimEnd().split('\n').map(Number);
    for (const pid of left) process.kill(pid, 'SIGKILL');
    assert.equal(left.length, 6);
    assert.equal(code, 0);
    assert.equal(lines.at(-1), '7 passed, 0 failed, 1 skipped');
  });

  it('ends the step that runs where it is ended', async () => {
    await script('bin/npm', 'trap "touch ended; exit 1" TERM; touch begun; while :; do sleep 0.1; done');
    const child = started();
    while (!existsSync(join(folder, 'begun'))) await sleep(10);
    child.kill('SIGTERM');
    child.stdout?.resume();
    assert.deepEqual(await once(child, 'exit'), [143, null]);
    assert(existsSync(join(folder, 'ended')));
  });
});
