import assert from 'node:assert/strict';
import { once } from 'node:events';
import { globSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { batchesOf, type Seconds } from './batches.ts';
import { endOf } from './swtpm-fixtures/end-of.ts';

const program = join(import.meta.dirname, 'main.ts');
const run = (...args: readonly string[]) => endOf([program, 'test', ...args], {});

describe('npm test -- ARGUMENTS', () => {
  it('says which groups there are where one is named that is none, and runs nothing', async () => {
    for (const args of [['nope'], ['unit', 'nope'], ['test/nope'], ['nope', '--grep', 'x']]) {
      const { code, stdout, stderr } = await run(...args);
      assert.deepEqual([code, stdout], [2, ''], stderr);
      assert.match(
        stderr,
        /^no such group: (nope|test\/nope); .*\bunit, property, vectors, swtpm, e2e, vm, debs, keys, cluster, images, long\b/,
      );
    }
  });

  it('says so where a file is named that is not there', async () => {
    const { code, stdout, stderr } = await run('test/nope.unit.test.ts');
    assert.deepEqual([code, stdout], [2, '']);
    assert.match(stderr, /^no such file: test\/nope\.unit\.test\.ts;/);
  });

  it('runs files by their path or a pattern, with the options of mocha', async () => {
    for (const file of ['test/attack-rows.unit.test.ts', 'test/attack-row*.test.ts']) {
      const { code, stdout } = await run('--grep', 'nothing is called that', file);
      assert.deepEqual([code, stdout.trimEnd().split('\n').at(-1)], [0, '0 passed, 0 failed, 0 skipped']);
    }
  });
});

describe('npm test -- FOLDER', () => {
  it('runs the tests below it, of the groups that are named or of all that run without a name', async () => {
    const count = async (...args: readonly string[]) => {
      const { code, stdout, stderr } = await run(...args, '--dry-run');
      assert.equal(code, 0, stderr);
      return Number(/^(\d+) passed, 0 failed, 0 skipped\n$/m.exec(stdout)?.[1]);
    };
    const units = await count('test/attest-server/references/', 'unit');
    const all = await count('test/attest-server/references');
    assert(units > 10 && units < all, `${units} of ${all}`);
  });

  it('fails where none is there', async () => {
    const { code, stdout } = await run('test/vm', 'swtpm');
    assert.equal(code, 1);
    assert.match(stdout, /^FAILED {2}no test files of swtpm there$/m);
  });
});

describe('the processes of npm test', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-groups-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  async function testFile(name: string, body: string): Promise<string> {
    const file = join(folder, name);
    await writeFile(file, `describe('${name}', () => { it('does', async () => { ${body} }); });\n`);
    return file;
  }

  it('run side by side, and their totals, failures and slowest files are told together at the end', async () => {
    const files = await Promise.all(
      Array.from({ length: 40 }, (_, index) => testFile(`${index}.unit.test.ts`, '')),
    );
    const failing = await testFile('failing.e2e.test.ts', "throw new Error('no');");
    const { code, stdout } = await run(...files, failing);
    assert.equal(code, 1);
    const lines = stdout.trimEnd().split('\n');
    assert.match(
      lines.at(-2) ?? '',
      /^FAILED {2}failing\.e2e\.test\.ts does: no at .*failing\.e2e\.test\.ts:\d+:\d+\)?$/,
    );
    assert.equal(lines.at(-1), '40 passed, 1 failed, 0 skipped');
    const slowest = lines.slice(-13, -3);
    assert.match(lines.at(-3) ?? '', /^ +\d+\.\d s +\d+\.\d s of CPU {2}in all$/);
    assert(
      slowest.every((line) => /^ +\d+\.\d s +\d+\.\d s of CPU {2}\S+\.test\.ts$/.test(line)),
      slowest.join('\n'),
    );
  });

  it('name each test that was skipped before the last line counts them', async () => {
    const skipping = join(folder, 'skipping.unit.test.ts');
    await writeFile(skipping, "describe('a test', () => { it.skip('is not run', () => {}); });\n");
    const passing = await testFile('passing.unit.test.ts', '');
    const { code, stdout } = await run(skipping, passing);
    assert.equal(code, 0);
    assert.deepEqual(stdout.trimEnd().split('\n').slice(-2), [
      'SKIPPED  a test is not run',
      '1 passed, 0 failed, 1 skipped',
    ]);
  });

  it('count as failed where one ends before its tests do', async () => {
    const crashing = await testFile('crashing.e2e.test.ts', "console.error('why'); process.exit(0);");
    const passing = await testFile('passing.unit.test.ts', '');
    const { code, stdout } = await run(crashing, passing);
    assert.equal(code, 1);
    assert.match(
      stdout,
      /^FAILED {2}mocha ended with 0 before it was done: .*crashing\.e2e\.test\.ts\n[\s\S]*why\n1 passed/m,
    );
    assert.match(stdout, /^1 passed, 1 failed, 0 skipped\n$/m);
  });

  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    it(`end with all that their tests started on ${signal}`, async () => {
      const hanging = await Promise.all(
        ['one.e2e', 'other.unit'].map((name) => testFile(`${name}.test.ts`, hang(join(folder, name)))),
      );
      const child = start(process.execPath, [program, 'test', ...hanging], { stdio: 'ignore' });
      const ended = once(child, 'exit');
      const pids = await Promise.all(['one.e2e', 'other.unit'].map((name) => pidIn(join(folder, name))));
      child.kill(signal);
      assert.deepEqual(await ended, [null, signal]);
      // Whoever is ended is gone a moment later.
      for (const pid of pids) while (await isAlive(pid)) await sleep(10);
    });
});

/** The body of a test that starts a program, says which in a file, and never ends. */
const hang = (file: string) => `
  const { spawn } = await import('node:child_process');
  const { renameSync, writeFileSync } = await import('node:fs');
  writeFileSync('${file}.new', String(spawn('sleep', ['60']).pid));
  renameSync('${file}.new', '${file}');
  await new Promise((resolve) => setTimeout(resolve, 60_000));`;

async function pidIn(file: string): Promise<number> {
  for (;;) {
    const text = await readFile(file, 'utf8').catch(() => null);
    if (text !== null) return Number(text);
    await sleep(10);
  }
}

/** Not as a zombie, which its parent has not asked for yet. */
async function isAlive(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  return status !== null && !/^\d+ \(.*\) Z/.test(status);
}

describe('the batches of npm test', () => {
  const root = join(import.meta.dirname, '..');
  const all = globSync('test/**/*.{unit,property,vectors,swtpm,e2e}.test.ts', { cwd: root });
  const seconds: Seconds = JSON.parse(readFileSync(join(root, 'test/seconds.json'), 'utf8'));
  const batches = batchesOf(all, seconds);

  it('have each file once', () => {
    assert.deepEqual(batches.flat().sort(), all.sort());
  });

  it('begin with those that take longest, and short files share a process', () => {
    const sums = batches.map((files) => files.reduce((sum, file) => sum + (seconds[file] ?? 0), 0));
    // Of files that no run has seen the sums know nothing.
    const known = sums.filter((_, index) => batches[index]?.every((file) => file in seconds));
    assert.deepEqual(
      known,
      known.toSorted((one, other) => other - one),
    );
    for (const [index, files] of batches.entries()) {
      assert.ok(files.length === 1 || (sums[index] ?? 0) <= 30, `${sums[index]} s: ${files.join(' ')}`);
      assert.ok(files.length <= 32);
    }
    assert.ok(batches.length < all.length / 4, `${batches.length}`);
  });

  it('are made of the seconds of files that are there', () => {
    assert.deepEqual(
      Object.keys(seconds).filter((file) => !all.includes(file)),
      [],
    );
  });
});
