import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { madeOnce, shareMade } from '../../swtpm-fixtures/made-once.ts';

describe('what the processes of a run of tests make once', () => {
  let folder = '';
  let made = 0;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-once-'));
    for (const name of ['shared', 'one', 'other']) await mkdir(join(folder, name));
    made = 0;
  });
  afterEach(async () => {
    shareMade(process.env.ASSAY_TEST_MADE);
    await rm(folder, { recursive: true });
  });

  const make = (name: string, meanwhile = async () => {}) =>
    madeOnce('thing', ['key', 'serial'], join(folder, name), async () => {
      made += 1;
      for (const file of ['key', 'serial', 'scratch'])
        await writeFile(join(folder, name, file), `${file} ${made}`);
      await meanwhile();
    });
  const keyIn = (name: string) => readFile(join(folder, name, 'key'), 'utf8');

  it('is made anew in each folder where nothing is shared', async () => {
    shareMade(undefined);
    for (const name of ['one', 'other']) await make(name);
    assert.deepEqual([await keyIn('one'), await keyIn('other')], ['key 1', 'key 2']);
  });

  it('is made once where a folder is shared, and the files that are named are copied', async () => {
    shareMade(join(folder, 'shared'));
    for (const name of ['one', 'other']) await make(name);
    assert.deepEqual([made, await keyIn('other')], [1, 'key 1']);
    assert.deepEqual((await readdir(join(folder, 'other'))).sort(), ['key', 'serial']);
  });

  it('is the same for all where two make it at a time', async () => {
    shareMade(join(folder, 'shared'));
    await make('one', () => make('other'));
    assert.deepEqual([made, await keyIn('one'), await keyIn('other')], [2, 'key 2', 'key 2']);
    assert.deepEqual(await readdir(join(folder, 'shared')), ['thing']);
  });
});
