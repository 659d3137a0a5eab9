import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, before, beforeEach, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { programs } from '../../programs.ts';

const user = 65_532;
const fsGroup = 64_000;
const serverStateModule = join(import.meta.dirname, '../../../attest-server/state/open.ts');
const openServerState = `const { openState } = await import(${JSON.stringify(serverStateModule)});
  await using state = await openState(process.env.ASSAY_STATE_DIR);
  process.stderr.write(JSON.stringify(state.wasOpened));`;
const stateModule = join(import.meta.dirname, '../../../agent/state-dir.ts');

describe('a volume with fsGroup', function () {
  this.timeout(60_000);
  let parent: string;
  let volume: string;
  before(function () {
    if (process.getuid?.() !== 0) this.skip();
  });
  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'assay-fs-group-'));
    chmodSync(parent, 0o755);
    volume = join(parent, 'volume');
    mkdirSync(volume, { mode: 0o755 });
  });
  afterEach(() => rmSync(parent, { recursive: true, force: true }));

  /** What the kubelet does when it mounts the volume. `OnRootMismatch` looks at the root alone. */
  const mount = (policy: 'Always' | 'OnRootMismatch') => {
    const root = statSync(volume);
    const isAsWanted = root.gid === fsGroup && (root.mode & 0o2770) === 0o2770;
    if (policy === 'OnRootMismatch' && isAsWanted) return;
    for (const name of ['.', ...readdirSync(volume, { recursive: true, encoding: 'utf8' })]) {
      const path = join(volume, name);
      const found = lstatSync(path);
      if (found.isSymbolicLink()) continue;
      chownSync(path, found.uid, fsGroup);
      chmodSync(path, (found.mode & 0o7777) | (found.isDirectory() ? 0o2770 : 0o660));
    }
  };
  /** A container of this user with fsGroup and no capability, to the end of the program. */
  const container = async (args: readonly string[]) => {
    const running = start(
      'setpriv',
      [
        ...['--reuid', String(user), '--regid', String(user), '--groups', String(fsGroup)],
        ...['--no-new-privs', '--bounding-set=-all', '--inh-caps=-all', process.execPath, ...args],
      ],
      { stdio: ['ignore', 'ignore', 'pipe'], env: { ASSAY_STATE_DIR: join(volume, 'state') } },
    );
    let said = '';
    running.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const closed = once(running, 'close');
    const until = performance.now() + 30_000;
    while (running.exitCode === null && !said.includes('the server listens')) {
      assert.ok(performance.now() < until, said);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    running.kill('SIGTERM');
    const [code] = await closed;
    return { code, said };
  };
  const server = () => {
    const config = join(parent, 'server.yaml');
    writeFileSync(config, JSON.stringify({ agentPort: 0, apiPort: 0, metricsPort: 0, host: '127.0.0.1' }));
    return container([programs['assay-server'], '--config', config]);
  };
  const open = () =>
    readdirSync(join(volume, 'state'), { recursive: true, encoding: 'utf8' }).filter((name) => {
      const { mode } = statSync(join(volume, 'state', name));
      return !name.endsWith('.crt') && (mode & 0o077) !== 0;
    });

  it('keeps the state of a server private over its starts, and it says what was open meanwhile', async () => {
    const isPrivate = () =>
      assert.deepEqual([statSync(join(volume, 'state')).mode & 0o7777, open()], [0o2700, []]);
    mount('OnRootMismatch');
    const first = await server();
    assert.equal(first.code, 0, first.said);
    assert.ok(!first.said.includes('state_was_opened'), first.said);
    isPrivate();
    // Of the next start what a server does with its folder, as it says it.
    mount('OnRootMismatch');
    const again = await container(['--input-type=module', '-e', openServerState]);
    assert.deepEqual(again, { code: 0, said: 'null' });
    isPrivate();
    mount('Always');
    assert.ok(open().includes('audit.key'));
    const { code, said } = await server();
    assert.equal(code, 0, said);
    assert.match(said, /state_was_opened.*audit\.key/);
    assert.deepEqual(open(), []);
  });

  it('keeps the state of an agent private, too', async () => {
    const write = `const { openStateDir } = await import(${JSON.stringify(stateModule)});
      const state = await openStateDir(process.env.ASSAY_STATE_DIR);
      process.stderr.write(JSON.stringify(state.wasOpened));
      await state.write('enrolled', 'x');`;
    for (const opened of ['null', `{"group":${fsGroup},"paths":`]) {
      mount('Always');
      const { code, said } = await container(['--input-type=module', '-e', write]);
      assert.ok(code === 0 && said.startsWith(opened), said);
      assert.ok(existsSync(join(volume, 'state/enrolled')));
      assert.deepEqual(open(), []);
    }
  });
});
