import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, lstat, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { AgentError } from '../../agent/agent-error.ts';
import { type GuardedSocket, listenGuarded } from '../../agent/guarded-socket.ts';

const refused = { name: 'AgentError', code: 'tpm_broker' };
const listen = (path: string, lookEvery?: number) =>
  listenGuarded(path, (text, cause) => new AgentError('tpm_broker', text, { cause }), lookEvery);

describe('the socket of a program of root', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-socket-'));
  });
  afterEach(() => rm(folder, { recursive: true }));
  const end = async ({ server, release }: GuardedSocket) => {
    await new Promise((resolve) => server.close(resolve));
    await release();
  };

  it('is for its user and group alone, in a folder that is so too (row 154)', async () => {
    const listening = await listen(join(folder, 'run/tpm.sock'));
    const [socket, its] = await Promise.all(
      ['run/tpm.sock', 'run'].map(async (name) => (await lstat(join(folder, name))).mode & 0o777),
    );
    assert.deepEqual([socket, its], [0o660, 0o750]);
    await end(listening);
    assert.deepEqual(await readdir(join(folder, 'run')), ['tpm.sock.lock']);
  });

  it('is not put into a folder that others may write (row 154)', async () => {
    for (const mode of [0o777, 0o1777, 0o770]) {
      await chmod(folder, mode);
      await assert.rejects(listen(join(folder, 'tpm.sock')), refused);
      await mkdir(join(folder, 'inner'), { recursive: true });
      if (mode !== 0o1777) await assert.rejects(listen(join(folder, 'inner/tpm.sock')), refused);
    }
    assert.deepEqual(await readdir(folder), ['inner']);
  });

  it('is not made over a link, and follows none (row 154)', async () => {
    await mkdir(join(folder, 'real'), { mode: 0o750 });
    await symlink(join(folder, 'real'), join(folder, 'link'));
    await assert.rejects(listen(join(folder, 'link/tpm.sock')), refused);
    await symlink('/etc/passwd', join(folder, 'real/tpm.sock'));
    await assert.rejects(listen(join(folder, 'real/tpm.sock')), refused);
    assert((await lstat(join(folder, 'real/tpm.sock'))).isSymbolicLink());
  });

  it('is not made over something that is no socket (row 154)', async () => {
    await writeFile(join(folder, 'tpm.sock'), 'mine');
    await assert.rejects(listen(join(folder, 'tpm.sock')), refused);
    await mkdir(join(folder, 'folder'));
    await assert.rejects(listen(join(folder, 'folder')), refused);
  });

  it('is not put into a folder of somebody else (row 154)', async function () {
    if (process.getuid?.() !== 0) this.skip();
    await run('chown', ['65532', folder], { timeoutMs: 5000, maxOutputBytes: 100 });
    await assert.rejects(listen(join(folder, 'tpm.sock')), refused);
  });

  it('takes the place of one that nobody answers, and of no other', async () => {
    const path = join(folder, 'tpm.sock');
    const program = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    await assert.rejects(run(process.execPath, ['-e', program], { timeoutMs: 10_000, maxOutputBytes: 100 }));
    assert((await lstat(path)).isSocket());
    const listening = await listen(path);
    await assert.rejects(listen(path), refused);
    assert((await lstat(path)).isSocket());
    await end(listening);
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(path, resolve));
    await assert.rejects(listen(path), refused);
    await new Promise((resolve) => other.close(resolve));
  });

  it('of two that start at once is one', async () => {
    const path = join(folder, 'tpm.sock');
    const both = await Promise.allSettled([listen(path), listen(path)]);
    const started = both.filter((each) => each.status === 'fulfilled');
    assert.equal(started.length, 1);
    for (const { value } of started) await end(value);
  });

  for (const [what, change] of [
    [
      'its folder was removed and made again',
      async (folder: string) => {
        await rm(folder, { recursive: true });
        await mkdir(folder, { mode: 0o750 });
      },
    ],
    [
      'something else is in its place',
      async (folder: string) => {
        await rm(join(folder, 'tpm.sock'));
        await symlink('/dev/null', join(folder, 'tpm.sock'));
      },
    ],
  ] as const)
    it(`says so, for a start anew, where ${what}`, async () => {
      const inner = join(folder, 'run');
      const listening = await listen(join(inner, 'tpm.sock'), 10);
      assert.equal(listening.lost.aborted, false);
      const lost = once(listening.lost, 'abort');
      await change(inner);
      await lost;
      assert.throws(() => listening.lost.throwIfAborted(), refused);
      await end(listening);
      await rm(join(inner, 'tpm.sock'), { force: true });
      await end(await listen(join(inner, 'tpm.sock')));
    });

  it('leaves the folder that everybody shares as it is', async () => {
    await chmod(folder, 0o1777);
    await assert.rejects(listen(join(folder, 'tpm.sock')), (error: Error) => !/chmod/.test(error.message));
  });

  it('has a path that a socket can have', async () => {
    await assert.rejects(listen(join(folder, 'x'.repeat(100))), refused);
  });
});
