import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { acquireLock, prepareLockFile } from '../../../agent/node-tpm2/lock.ts';
import { run, start } from '../../../agent/node-tpm2/run.ts';

describe('the lock of a TPM', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'node-tpm2-lock-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('is a private file in a private folder (row 74)', async () => {
    const file = await prepareLockFile(join(folder, 'locks'), 'device:/dev/tpm0');
    await (await acquireLock({ file, timeoutMs: 1000 }))();
    assert.equal((await stat(join(folder, 'locks'))).mode & 0o777, 0o700);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
  });

  it('keeps a second holder out until it is released', async () => {
    const file = await prepareLockFile(folder, 'a');
    const release = await acquireLock({ file, timeoutMs: 1000 });
    await assert.rejects(acquireLock({ file, timeoutMs: 100 }), { code: 'lock_failed', retryable: true });
    await assert.rejects(run('flock', ['-n', file, 'true'], { timeoutMs: 1000, maxOutputBytes: 10 }), {
      code: 'failed',
    });
    await release();
    await (await acquireLock({ file, timeoutMs: 1000 }))();
  });

  it('is released by the kernel when its holder is killed', async () => {
    const file = await prepareLockFile(folder, 'a');
    const holder = start('flock', ['--no-fork', file, 'cat'], { stdio: ['pipe', 'pipe', 'ignore'] });
    holder.stdin?.write('x');
    await new Promise((resolve) => holder.stdout?.once('data', resolve));
    await assert.rejects(acquireLock({ file, timeoutMs: 50 }), { code: 'lock_failed' });
    holder.kill('SIGKILL');
    await (await acquireLock({ file, timeoutMs: 2000 }))();
  });

  it('refuses a link in place of the file or the folder (row 74)', async () => {
    const file = await prepareLockFile(folder, 'a');
    await symlink(join(folder, 'elsewhere'), file);
    await assert.rejects(acquireLock({ file, timeoutMs: 100 }), { code: 'lock_failed' });
    await mkdir(join(folder, 'real'));
    await symlink(join(folder, 'real'), join(folder, 'link'));
    await assert.rejects(prepareLockFile(join(folder, 'link'), 'a'), { code: 'lock_failed' });
  });

  it('refuses a folder that others may write (row 74)', async () => {
    await chmod(folder, 0o777);
    await assert.rejects(prepareLockFile(folder, 'a'), { code: 'lock_failed' });
  });
});
