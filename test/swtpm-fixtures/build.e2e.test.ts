import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { sources } from '../../swtpm-fixtures/programs.ts';
import { endOf } from './end-of.ts';

const root = join(import.meta.dirname, '../..');
const recorded = join(root, 'swtpm-fixtures/recorded/debian13-shim-grub/binary_bios_measurements');
const vectors = join(root, 'swtpm-fixtures/vectors');

describe('the compiled programs', function () {
  this.timeout(120_000);
  let folder = '';
  /** `npm test` has built them already. */
  let dist = process.env.ASSAY_TEST_PROGRAMS ?? '';
  const inFolder = (name: string) => join(folder, name);
  const inDist = (name: string) => join(dist, name);
  const env = () => ({ XDG_CACHE_HOME: inFolder('cache') });

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-build-'));
    if (dist !== '') return;
    dist = inFolder('dist');
    const setup = join(root, 'swtpm-fixtures/setup.mjs');
    const { code, stderr } = await endOf([setup, 'build', '--', '--out', dist], {
      PATH: process.env.PATH ?? '',
    });
    assert.equal(code, 0, stderr);
  });
  after(() => rm(folder, { recursive: true }));

  for (const [program, source] of Object.entries(sources))
    for (const flag of ['--version', '--help'])
      it(`${program} ${flag} says what its source says`, async () => {
        const compiled = await endOf([inDist(`${program}.js`), flag], env());
        assert.equal(compiled.code, 0, compiled.stderr);
        assert.notEqual(compiled.stdout, '');
        assert.deepEqual(compiled, await endOf([source, flag], env()));
      });

  for (const args of [
    ['eventlog', recorded, '-o', 'json'],
    [
      'verify',
      join(vectors, '45-kernel/bundle.json'),
      '--policy',
      join(vectors, '45-kernel/policy.yaml'),
      '--references',
      join(vectors, 'references/debian13-shim-grub'),
      '-o',
      'json',
    ],
    // These read what lies beside the code: the shipped policies and the makers' authorities.
    ['policy', 'check', 'strict'],
    ['ek', 'roots', '-o', 'json'],
  ])
    it(`assay ${args[0]} judges as its source does`, async () => {
      const compiled = await endOf([inDist('assay.js'), ...args], env());
      assert.equal(compiled.code, args[0] === 'verify' ? 10 : 0, compiled.stderr);
      assert.notEqual(compiled.stdout, '');
      assert.deepEqual(compiled, await endOf([sources.assay, ...args], env()));
    });

  it('finds every module that a program may load', async () => {
    const files = (await readdir(dist, { recursive: true })).filter((file) => file.endsWith('.js'));
    // The programs themselves run; all else only defines.
    const modules = files.filter((file) => file.includes('/') && !/(main|-program)\.js$/.test(file));
    assert.ok(modules.length > 100);
    const load = modules.map((file) => `await import(${JSON.stringify(inDist(file))});`).join('');
    const { code, stderr } = await endOf(['--input-type=module', '--eval', load], env());
    assert.equal(code, 0, stderr);
  });

  it('are not written into a folder that holds something', async () => {
    const setup = join(root, 'swtpm-fixtures/setup.mjs');
    await writeFile(inFolder('something'), '');
    const { code } = await endOf([setup, 'build', '--', '--out', folder], { PATH: process.env.PATH ?? '' });
    assert.equal(code, 1);
  });
});
