import assert from 'node:assert/strict';
import { chmod, chown, lstat, mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { prepareState } from '../../agent/prepare-state.ts';

const agent = 65_532;
const stranger = 65_533;
const main = join(import.meta.dirname, '../../agent/main.ts');

describe('folders of a pod, prepared by its init container', function () {
  this.timeout(120_000);
  let folder = '';
  let volume = '';
  beforeEach(async function () {
    if (process.getuid?.() !== 0) this.skip();
    folder = await mkdtemp(join(tmpdir(), 'assay-prepare-'));
    await chmod(folder, 0o755);
    volume = join(folder, 'volume');
    // As the kubelet makes what a hostPath with DirectoryOrCreate names.
    await mkdir(volume, { mode: 0o755 });
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  /** As a container: this user, the group 0 alone, and no capability at all. */
  const as = (user: number, ...command: readonly string[]) =>
    run(
      'setpriv',
      [
        ...['--reuid', String(user), '--regid', '0', '--clear-groups', '--no-new-privs'],
        ...['--bounding-set=-all', '--inh-caps=-all', ...command],
      ],
      { timeoutMs: 20_000, maxOutputBytes: 65_536 },
    );
  const prepared = () => as(0, process.execPath, main, 'prepare-state', volume);
  const modeOf = async (path: string) => ((await lstat(path)).mode & 0o7777).toString(8);
  const openState = (path: string) => {
    const module = join(import.meta.dirname, '../../agent/state-dir.ts');
    const program = `const { openStateDir } = await import(${JSON.stringify(module)});
      try { await (await openStateDir(${JSON.stringify(path)})).write('enrolled', 'x'); }
      catch ({ message }) { process.exit(process.stderr.write(message) && 1); }`;
    return as(agent, process.execPath, '--input-type=module', '-e', program);
  };

  it('take the private folder of the agent, which cannot make one before', async () => {
    const state = join(volume, 'state');
    await assert.rejects(openState(state), /EACCES/);
    // Twice: each start of the pod does it again.
    for (let start = 0; start < 2; start++) {
      await prepared();
      await openState(state);
    }
    assert.deepEqual([await modeOf(volume), await modeOf(state)], ['1770', '700']);
    const { uid, gid } = await lstat(state);
    assert.deepEqual([uid, gid], [agent, 0]);
  });

  it('are closed to all others, also memory of the pod that was open to all', async () => {
    await chmod(volume, 0o777);
    await prepared();
    assert.equal(await modeOf(volume), '1770');
    for (const [user, name] of [
      [agent, 'agent'],
      [0, 'netfilter'],
    ] as const)
      await as(user, 'mkdir', '-m', '750', join(volume, name));
    await prepared();
    await assert.rejects(as(agent, 'rmdir', join(volume, 'netfilter')));
    await assert.rejects(as(agent, 'touch', join(volume, 'netfilter', 'x')));
  });

  it('take the sockets of each program, where no other program can put its own', async () => {
    await chmod(volume, 0o777);
    await prepared();
    const module = join(import.meta.dirname, '../../agent/health/health-socket.ts');
    const serve = (user: number, name: string) => {
      const socket = JSON.stringify(join(volume, name, 'health.sock'));
      const program = `const { serveHealth } = await import(${JSON.stringify(module)});
        const look = () => ({ isAlive: true, isReady: true, text: '' });
        try { await (await serveHealth(${socket}, look))[Symbol.asyncDispose](); }
        catch ({ message }) { process.exit(process.stderr.write(message) && 1); }`;
      return as(user, process.execPath, '--input-type=module', '-e', program);
    };
    await serve(agent, 'agent');
    await serve(0, 'netfilter');
    await assert.rejects(serve(agent, 'netfilter'), /could not be opened|EACCES/);
    await assert.rejects(serve(0, 'agent'), /belongs to user 65532|others may write|EACCES/);
    await prepared();
  });

  it('are refused where they are a link, no folder, or somebody else owns them', async () => {
    const reject = (path: string) => assert.rejects(prepareState(path, agent), { code: 'state_dir' });
    await reject(join(folder, 'none'));
    await writeFile(join(folder, 'file'), '');
    await reject(join(folder, 'file'));
    await symlink(volume, join(folder, 'link'));
    await reject(join(folder, 'link'));
    await chown(volume, agent, 0);
    await reject(volume);
    await chown(volume, 0, stranger);
    await reject(volume);
    assert.equal(await modeOf(volume), '755');
  });

  it('are refused where something stands in them that none of the programs makes', async () => {
    const inside = join(volume, 'state');
    const strange: readonly (readonly [string, () => Promise<unknown>])[] = [
      ['a file', () => writeFile(inside, '')],
      ['a link', () => symlink('/', inside)],
      ['of a stranger', () => mkdir(inside).then(() => chown(inside, stranger, 0))],
      ['open to others', () => mkdir(inside).then(() => chmod(inside, 0o770))],
    ];
    for (const [what, make] of strange) {
      await make();
      await assert.rejects(prepareState(volume, agent), { code: 'state_dir' }, what);
      await rename(inside, join(folder, `moved ${what}`));
      await prepareState(volume, agent);
    }
  });
});
