import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { tokenRoles } from '../../../attest-server/api/api.ts';
import { starters } from '../../../attest-server/cli/offline/compute/parts.ts';
import { nodeStates } from '../../../attest-server/wire/verdict.ts';
import { endOf } from '../../swtpm-fixtures/end-of.ts';
import { runAssay } from './cli-fixture.ts';

const root = join(import.meta.dirname, '../../..');
const launcher = join(root, 'attest-server/cli/assay.mjs');

/** Names each file of ours and of a package as it is loaded. */
const hook = `import { registerHooks } from 'node:module';
registerHooks({ load(url, context, next) {
  if (url.startsWith('file:')) process.stderr.write('loaded ' + url + '\\n');
  return next(url, context);
} });`;
const named = ['--import', `data:text/javascript,${encodeURIComponent(hook)}`];

/** As users start it: the folder for what Node compiles is chosen by the program. */
const byItself = { NODE_COMPILE_CACHE: '' };

describe('the start of assay', () => {
  let home = '';
  const cache = () => join(home, '.cache', 'assay');
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'assay-home-'));
  });
  afterEach(() => rm(home, { recursive: true }));

  for (const args of [
    ['--version'],
    ['--help'],
    ['reference', 'compute', '--help'],
    ['verify', '--help'],
    ['why', 'node-1', '-o', 'nonsense'],
  ])
    it(`waits for no command’s own modules: ${args.join(' ')}`, async () => {
      const { stderr } = await endOf([...named, launcher, ...args], {});
      const loaded = [...stderr.matchAll(/^loaded file:\/\/(.*)$/gm)].map(([, path = '']) =>
        path.slice(root.length + 1),
      );
      assert.ok(loaded.includes('attest-server/cli/commands.ts'));
      assert.deepEqual(
        loaded.filter(
          (path) =>
            !path.startsWith('node_modules/commander/') &&
            path !== 'attest-server/version.ts' &&
            path !== 'attest-server/wire/printable.ts' &&
            !/^attest-server\/cli\/(tree\/)?[\w-]+\.(ts|mjs)$/.test(path),
        ),
        [],
      );
    });

  it('keeps what was compiled in a folder of the user alone', async () => {
    assert.equal((await endOf([launcher, '--version'], { ...byItself, HOME: home })).code, 0);
    assert.equal((await stat(cache())).mode & 0o777, 0o700);
    assert.notEqual((await readdir(cache())).length, 0);
  });

  it('prefers XDG_CACHE_HOME, and ignores one that is no whole path', async () => {
    const elsewhere = join(home, 'elsewhere');
    await endOf([launcher, '--version'], { ...byItself, HOME: home, XDG_CACHE_HOME: elsewhere });
    assert.deepEqual(await readdir(elsewhere), ['assay']);
    await endOf([launcher, '--version'], { ...byItself, HOME: home, XDG_CACHE_HOME: 'relative' });
    assert.notEqual((await readdir(cache())).length, 0);
  });

  it('runs nothing from a folder that others can write to', async () => {
    await mkdir(cache(), { recursive: true });
    await chmod(cache(), 0o777);
    assert.equal((await endOf([launcher, '--version'], { ...byItself, HOME: home })).code, 0);
    assert.deepEqual(await readdir(cache()), []);
  });

  it('runs nothing from a folder behind a symbolic link', async () => {
    const target = join(home, 'target');
    await mkdir(target, { mode: 0o700 });
    await mkdir(join(home, '.cache'));
    await symlink(target, cache());
    assert.equal((await endOf([launcher, '--version'], { ...byItself, HOME: home })).code, 0);
    assert.deepEqual(await readdir(target), []);
  });

  it('works all the same where it cannot be kept', async () => {
    await writeFile(join(home, '.cache'), '');
    const missing = join(home, 'missing');
    for (const HOME of [home, missing])
      assert.equal((await endOf([launcher, '--version'], { HOME })).code, 0);
    assert.deepEqual(await readdir(home), ['.cache']);
  });

  for (const [command, values] of [
    [['token', 'create'], tokenRoles],
    [['get', 'nodes'], nodeStates],
    [['reference', 'compute'], starters],
  ] as const)
    it(`names in the help of ${command.join(' ')} every value that it takes`, async () => {
      const { out } = await runAssay([...command, '--help']);
      assert.ok(out.replace(/\s+/g, ' ').includes(values.join(', ')), out);
    });
});
