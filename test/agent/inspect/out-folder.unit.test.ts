import assert from 'node:assert/strict';
import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { openOutFolder } from '../../../agent/inspect/out-folder.ts';

const groups = Buffer.from('root:x:0:\nassays:x:7:\nassay:x:64999:someone\n');
const isRoot = process.getuid?.() === 0;

describe('the folder that inspect writes to', () => {
  let base = '';
  let path = '';
  beforeEach(async () => {
    base = await mkdtemp(join(tmpdir(), 'assay-out-'));
    path = join(base, 'run', 'inspect');
  });
  afterEach(() => rm(base, { recursive: true }));

  const refused = (to = path) => assert.rejects(openOutFolder(to, groups), { code: 'out_folder' });
  const modeOf = async (file: string) => {
    const { mode, gid } = await stat(file);
    return [(mode & 0o7777).toString(8), gid];
  };

  it('is made with all that leads to it, and read by the group assay alone', async function () {
    if (!isRoot) return this.skip();
    await using out = await openOutFolder(path, groups);
    await out.write('a', Buffer.from('first'));
    await using inner = await out.folder('boot');
    await inner.write('b', Buffer.from('second'));
    assert.deepEqual(await modeOf(path), ['750', 64_999]);
    assert.deepEqual(await modeOf(join(path, 'a')), ['640', 64_999]);
    assert.deepEqual(await modeOf(join(path, 'boot')), ['750', 64_999]);
    assert.deepEqual(await modeOf(join(path, 'boot/b')), ['640', 64_999]);
    assert.deepEqual(await readdir(path), ['a', 'boot']);
  });

  it('is read by its owner alone where there is no such group', async () => {
    await using out = await openOutFolder(path, null);
    await out.write('a', Buffer.from('first'));
    assert.equal((await modeOf(join(path, 'a')))[0], '600');
    assert.equal(out.group, null);
  });

  it('is no link, and none leads to it (row 74)', async () => {
    await mkdir(join(base, 'real/inspect'), { recursive: true });
    await symlink(join(base, 'real'), join(base, 'run'));
    await refused();
    await refused(join(base, 'run'));
  });

  it('is no file', async () => {
    await mkdir(join(base, 'run'));
    await writeFile(path, '');
    await refused();
  });

  it('is nothing that another user owns, nor lies in such (row 74)', async function () {
    if (!isRoot) return this.skip();
    await mkdir(path, { recursive: true });
    await chown(path, 65_532, 0);
    await refused();
    await chown(path, 0, 0);
    await chown(join(base, 'run'), 65_532, 0);
    await refused();
  });

  it('is nothing that others may change, nor lies in such (row 74)', async () => {
    await mkdir(path, { recursive: true });
    for (const folder of [path, join(base, 'run')]) {
      await chmod(folder, 0o775);
      await refused();
      await chmod(folder, 0o755);
    }
    await (await openOutFolder(path, null))[Symbol.asyncDispose]();
  });

  it('stays the one that was opened, wherever its path leads later', async () => {
    await using out = await openOutFolder(path, null);
    await mkdir(join(base, 'elsewhere'));
    await rm(join(base, 'run'), { recursive: true });
    await symlink(base, join(base, 'run'));
    await assert.rejects(out.write('a', Buffer.from('x')), { code: 'out_folder' });
    assert.deepEqual((await readdir(base)).sort(), ['elsewhere', 'run']);
  });

  it('shows a file as it was or as it is, and never a part of one', async () => {
    await using out = await openOutFolder(path, null);
    const contents = ['a', 'b'].map((letter) => Buffer.alloc(1 << 20, letter));
    const [first = Buffer.alloc(0)] = contents;
    await out.write('file', first);
    let isWriting = true;
    const writing = (async () => {
      for (let round = 0; round < 40; round++) await out.write('file', contents[round % 2] ?? first);
      isWriting = false;
    })();
    let reads = 0;
    while (isWriting) {
      const seen = await readFile(join(path, 'file'));
      assert(contents.some((content) => content.equals(seen)));
      reads += 1;
    }
    await writing;
    assert(reads > 0);
    assert.deepEqual(await readdir(path), ['file']);
  });

  it('loses what a run left behind that was ended, once it is old', async () => {
    await using out = await openOutFolder(path, null);
    await out.write('file', Buffer.from('x'));
    const [old, young] = [
      '.file.00000000-0000-4000-8000-000000000000',
      '.file.00000000-0000-4000-8000-000000000001',
    ] as const;
    for (const name of [old, young]) await writeFile(join(path, name), 'half');
    await utimes(join(path, old), 1, 1);
    await using again = await openOutFolder(path, null);
    assert.deepEqual((await again.list()).toSorted(), [young, 'file'].toSorted());
  });
});
