import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
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

  /** Files that a start of assay loads, without their hashes, and whether the child processes of Node are among what it loads. */
  async function loadedBy(...args: readonly string[]) {
    const hook = `import { registerHooks } from 'node:module';
registerHooks({ load(url, context, next) {
  if (url.startsWith('file:')) process.stderr.write('loaded ' + url + '\\n');
  return next(url, context);
} });
process.on('exit', () => process.stderr.write('built-in ' + process.moduleLoadList.join() + '\\n'));`;
    const named = ['--import', `data:text/javascript,${encodeURIComponent(hook)}`];
    const { stderr } = await endOf([...named, inDist('assay.js'), ...args], env());
    return {
      files: [...stderr.matchAll(/^loaded file:.*\/([^/]+?)(?:-[A-Z0-9]{8})?\.m?js$/gm)]
        .map(([, name = '']) => name)
        // A whole run of tests puts it there (test/main.ts).
        .filter((name) => name !== 'keep-compiled')
        .sort(),
      startsPrograms: /NativeModule child_process\b/.test(stderr),
      speaksTls: /NativeModule tls\b/.test(stderr),
    };
  }

  const atStart = ['assay', 'assay', 'chunk', 'main'];
  for (const args of [['--version'], ['--help'], ['frobnicate'], ['get', 'nodes', '--help']])
    it(`assay ${args.join(' ')} loads one file with all that it needs`, async () => {
      assert.deepEqual(await loadedBy(...args), { files: atStart, startsPrograms: false, speaksTls: false });
    });

  for (const [command, ...args] of [
    ['get', 'nodes'],
    ['why', 'node-1'],
  ])
    it(`assay ${command} loads one file more, beside what names its parts`, async () => {
      const files = [...atStart, 'chunk', 'connect', command ?? ''].sort();
      assert.deepEqual((await loadedBy(command ?? '', ...args)).files, files);
    });

  for (const [program, variable] of [
    ['tpm-broker', 'ASSAY_TPM_BROKER_SOCKET'],
    ['netfilter', 'ASSAY_NETFILTER_SOCKET'],
  ] as const)
    it(`assay-agent ${program} holds nothing of Node.js that it uses once or never`, async () => {
      // The process that reads settings says so by a variable, and ends.
      const hook = `process.on('exit', () =>
        process.env.ASSAY_AGENT_READS_SETTINGS ?? process.stderr.write('built-in ' + process.moduleLoadList.join() + '\\n'));`;
      const child = spawn(
        process.execPath,
        ['--import', `data:text/javascript,${encodeURIComponent(hook)}`, inDist('assay-agent.js'), program],
        {
          env: { PATH: process.env.PATH, [variable]: inFolder(`${program}.sock`) },
          stdio: ['ignore', 'ignore', 'pipe'],
        },
      );
      let said = '';
      for await (const chunk of child.stderr.setEncoding('utf8')) {
        said += chunk;
        if (/"code":"listen(s|ing)"/.test(chunk)) child.kill('SIGTERM');
      }
      const [, loaded = ''] = /^built-in (.*)$/m.exec(said) ?? [];
      assert.match(loaded, /NativeModule net,/, said);
      // 2.3 and 1 MiB of memory each.
      assert.doesNotMatch(loaded, /NativeModule (crypto|fs\/promises)\b/);
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
