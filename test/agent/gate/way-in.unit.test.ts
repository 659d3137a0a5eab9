import assert from 'node:assert/strict';
import { chmod, chown, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { readWayIn } from '../../../agent/gate/way-in.ts';

describe('the way in for an operator', () => {
  let dir = '';
  let file = '';
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-way-in-'));
    file = join(dir, 'open');
  });
  after(() => rm(dir, { recursive: true, force: true }));

  const write = async (text: string) => {
    await rm(file, { recursive: true, force: true });
    await writeFile(file, text, { mode: 0o600 });
  };

  it('is shut where there is no file, and no folder for it', async () => {
    assert.deepEqual(await readWayIn(file), { is: 'shut' });
    assert.deepEqual(await readWayIn(join(dir, 'nowhere', 'open')), { is: 'shut' });
  });

  it('gives the reason on one line that the server takes', async () => {
    await write('  a board was exchanged\n');
    assert.deepEqual(await readWayIn(file), { is: 'open', reason: 'a board was exchanged' });
    await write('');
    assert.deepEqual(await readWayIn(file), { is: 'open', reason: '' });
    await write(`one\n\x1b[31mtwo ${'x'.repeat(4096)}`);
    const long = await readWayIn(file);
    assert.match(long.is === 'open' ? long.reason : '', /^one\?\?\[31mtwo x{1,244}$/);
  });

  it('counts for nothing where others could have written it (row 74)', async function () {
    await write('let me in');
    await chmod(file, 0o666);
    assert.equal((await readWayIn(file)).is, 'ignored');
    await write('let me in');
    if (process.getuid?.() !== 0) return this.skip();
    await chown(file, 65_532, 65_532);
    assert.equal((await readWayIn(file)).is, 'ignored');
  });

  it('follows no link, and waits for no pipe (row 74)', async () => {
    await write('let me in');
    await symlink(file, join(dir, 'link'));
    assert.equal((await readWayIn(join(dir, 'link'))).is, 'ignored');
    await run('mkfifo', [join(dir, 'pipe')], { timeoutMs: 10_000, maxOutputBytes: 1024 });
    assert.equal((await readWayIn(join(dir, 'pipe'))).is, 'ignored');
    await mkdir(join(dir, 'folder'));
    assert.equal((await readWayIn(join(dir, 'folder'))).is, 'ignored');
  });
});
