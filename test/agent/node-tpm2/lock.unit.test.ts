import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { acquireLock, lockPlace, prepareLockFile } from '../../../agent/node-tpm2/lock.ts';
import { run, start } from '../../../agent/node-tpm2/run.ts';
import { parseTcti } from '../../../agent/node-tpm2/tcti.ts';

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

  it('closes no file of another when it is released twice', async () => {
    const release = await acquireLock({ file: await prepareLockFile(folder, 'a'), timeoutMs: 1000 });
    release();
    // The kernel gives the lowest number that is free: that of the lock.
    const other = openSync(join(folder, 'other'), 'w');
    release();
    closeSync(other);
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

  describe('without a folder of its own', () => {
    it('is the folder of a socket, in which nothing is made', async () => {
      const place = await lockPlace(parseTcti(`swtpm:path=${folder}/sock`), undefined);
      assert.deepEqual(place, { file: folder, kind: 'folder' });
      const release = await acquireLock({ ...place, timeoutMs: 1000 });
      await assert.rejects(acquireLock({ ...place, timeoutMs: 50 }), {
        code: 'lock_failed',
        retryable: true,
      });
      await release();
      assert.deepEqual(await readdir(folder), []);
    });

    it('is the device, one for a raw device and its resource manager', async function () {
      // A device of the kernel's that does nothing, under a TPM's name.
      const file = join(folder, 'tpmrm0');
      // And which may be made here, and opened: not where the folder of temporary files is mounted without devices.
      const script = 'mknod "$0" c 1 3 && : < "$0"';
      await run('sh', ['-c', script, file], { timeoutMs: 1000, maxOutputBytes: 100 }).catch(() =>
        this.skip(),
      );
      const [raw, managed] = await Promise.all(
        ['tpm0', 'tpmrm0'].map((name) => lockPlace(parseTcti(`device:${folder}/${name}`), undefined)),
      );
      assert.deepEqual(raw, { file, kind: 'device' });
      assert.deepEqual(managed, raw);
      const release = await acquireLock({ file, kind: 'device', timeoutMs: 1000 });
      await symlink(file, join(folder, 'alias'));
      const alias = { file: join(folder, 'alias'), kind: 'device', timeoutMs: 50 } as const;
      await assert.rejects(acquireLock(alias), { code: 'lock_failed', retryable: true });
      await release();
      await (await acquireLock(alias))();
    });

    it('is nothing that was put in the place of a device (row 150)', async () => {
      await run('mkfifo', [join(folder, 'tpmrm0')], { timeoutMs: 1000, maxOutputBytes: 100 });
      await writeFile(join(folder, 'tpmrm1'), '');
      for (const name of ['tpmrm0', 'tpmrm1', 'none'])
        await assert.rejects(acquireLock({ file: join(folder, name), kind: 'device', timeoutMs: 50 }), {
          code: 'lock_failed',
          retryable: false,
        });
    });

    it('is a file of this user where the TPM has no path', async () => {
      const place = await lockPlace(parseTcti('tabrmd:bus_type=system'), folder);
      assert.equal(place.kind, 'file');
      assert.match(place.file, new RegExp(`^${folder}/[0-9a-f]{32}\\.lock$`));
    });
  });
});
