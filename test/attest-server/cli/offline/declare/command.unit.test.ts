import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { parseManifest } from '../../../../../attest-server/verify/declared/manifest.ts';
import { type SignedDirectory, signedDirectory } from '../../../declared/signed-directory.ts';
import { referenceOf } from '../../../http/api-fixture.ts';
import { runAssay } from '../../cli-fixture.ts';

describe('assay declare', () => {
  let git: SignedDirectory;
  beforeEach(async () => {
    git = await signedDirectory(['merge', 'stranger']);
    await git.write('references/a.json', referenceOf('a'));
  });
  afterEach(() => git[Symbol.asyncDispose]());
  const declare = (...args: readonly string[]) => runAssay(['declare', git.directory, ...args]);
  const manifest = () => parseManifest(readFileSync(join(git.directory, 'manifest')));

  it('counts the serial up where something changed, and takes the signature of before away', async () => {
    await git.declare();
    assert.equal(manifest().serial, 1);
    assert.equal(JSON.parse((await declare('-o', 'json')).out).outcome, 'unchanged');
    assert.ok(existsSync(join(git.directory, 'manifest.sig')));
    await git.write('references/b.yaml', JSON.stringify(referenceOf('b')));
    const { out } = await declare('-o', 'json');
    assert.deepEqual(JSON.parse(out), {
      outcome: 'written',
      serial: 2,
      files: ['references/a.json', 'references/b.yaml'],
      policy: false,
      pins: 0,
      references: ['a', 'b'].map((name) => ({ name, group: 'workers', state: 'active' })),
      restored: [],
      added: ['references/b.yaml'],
      changed: [],
      removed: [],
    });
    assert.ok(!existsSync(join(git.directory, 'manifest.sig')));
  });

  it('names what is otherwise than in the manifest of before, above all what is gone', async () => {
    for (const name of ['b', 'c']) await git.write(`references/${name}.json`, referenceOf(name));
    await git.declare();
    await git.write('references/a.json', { ...referenceOf('a'), state: 'retired' });
    await git.remove('references/b.json');
    const { added, changed, removed } = JSON.parse((await declare('-o', 'json')).out);
    assert.deepEqual([added, changed, removed], [[], ['references/a.json'], ['references/b.json']]);
    await git.remove('references/c.json');
    assert.match((await declare()).out, /gone.*references\/c\.json/);
  });

  it('keeps what was taken back, and since which serial', async () => {
    await git.declare();
    assert.equal((await declare('--restore', 'a')).code, 0);
    await git.write('references/b.json', referenceOf('b'));
    assert.equal((await declare('--serial', '9')).code, 0);
    assert.deepEqual([manifest().serial, [...manifest().restored]], [9, [['a', 2]]]);
    assert.equal((await declare('--serial', '9')).code, 2);
    assert.equal((await declare('--restore', 'nobody')).code, 1);
  });

  it('says for the pipeline whether a server would take it: by the key, and by what is there', async () => {
    await git.declare();
    const check = async (key: string) => (await declare('--check', '--key', key)).code;
    assert.equal(await check(git.publicKey('merge')), 0);
    assert.equal(await check(readFileSync(git.publicKey('merge'), 'utf8').trim()), 0);
    assert.equal(await check(git.publicKey('stranger')), 1);
    assert.equal(await check(join(git.directory, 'no-key')), 2);
    await git.write('references/b.json', referenceOf('b'));
    assert.equal(await check(git.publicKey('merge')), 1);
    assert.equal((await declare('--check')).code, 2);
  });

  it('writes nothing where a server would refuse it', async () => {
    for (const [path, content] of [
      ['policy.yaml', 'groups: 7\n'],
      ['pins.csv', 'node-1,abc\n'],
      ['references/b.json', '{}'],
      ['references/b.json', JSON.stringify(referenceOf('a'))],
      ['references/b c.json', JSON.stringify(referenceOf('b'))],
    ] as const) {
      await git.write(path, content);
      assert.equal((await declare()).code, 1, path);
      await git.remove(path);
    }
    await symlink('/etc/hostname', join(git.directory, 'b.json'));
    assert.equal((await declare()).code, 1);
    assert.ok(!existsSync(join(git.directory, 'manifest')));
  });
});
