import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, before, beforeEach, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { programs } from '../programs.ts';
import { makeAuthority } from './made-authority.ts';

/** The kernel gives process 1 no signal that it does not handle, and leaves every orphan to it. */
describe('a program that is process 1 of its container', function () {
  this.timeout(60_000);
  let dir = '';
  before(function () {
    if (process.getuid?.() !== 0) this.skip();
  });
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-pid-one-'));
    await chmod(dir, 0o700);
  });
  afterEach(() => rm(dir, { recursive: true }));

  /** Ends it by SIGTERM once it said that, and gives its status and the states of processes that were left then. */
  async function ended(args: readonly string[], env: Readonly<Record<string, string>>, isUp: string) {
    const namespace = start(
      'unshare',
      ['--pid', '--fork', '--mount-proc', '--kill-child', process.execPath, ...args],
      { stdio: ['ignore', 'ignore', 'pipe'], env },
    );
    let said = '';
    namespace.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const closed = once(namespace, 'close');
    const until = performance.now() + 30_000;
    while (!said.includes(isUp)) {
      assert.ok(performance.now() < until && namespace.exitCode === null, said);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const children = (pid: number | string) => readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
    const first = (await children(namespace.pid ?? 0)).trim();
    const zombiesOf = async () => {
      const pids = (await children(first)).trim().split(' ').filter(Boolean);
      const stats = await Promise.all(
        pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')),
      );
      return stats.filter((stat) => /\) Z /.test(stat));
    };
    // Each child is one for the moment until its parent asks for its status: those stay that nobody asks for.
    let zombies = await zombiesOf();
    while (zombies.length > 0 && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      const still = new Set((await zombiesOf()).map((stat) => stat.split(' ')[0]));
      zombies = zombies.filter((stat) => still.has(stat.split(' ')[0]));
    }
    process.kill(Number(first), 'SIGTERM');
    const [status] = await closed;
    return { status, zombies };
  }
  const clean = { status: 0, zombies: [] };

  it('ends at once when the kubelet says so, and leaves no zombies: the agent and its helpers', async () => {
    await using authority = await makeAuthority();
    const caFile = join(dir, 'ca.crt');
    await writeFile(caFile, authority.ca);
    const main = programs['assay-agent'];
    const tcti = 'device:/dev/no-such-tpm';
    assert.deepEqual(
      await ended(
        [main, 'tpm-broker', '--socket', join(dir, 'a/tpm.sock'), '--tcti', tcti],
        {},
        '"listening"',
      ),
      clean,
    );
    assert.deepEqual(
      await ended([main, 'netfilter', '--socket', join(dir, 'b/netfilter.sock')], {}, '"listens"'),
      clean,
    );
    const agent = {
      ...{ ASSAY_AGENT_NODE: 'node-1', ASSAY_AGENT_SERVERS: '127.0.0.1:1', ASSAY_AGENT_CA_FILE: caFile },
      ...{ ASSAY_AGENT_STATE_DIR: join(dir, 'state'), ASSAY_AGENT_TCTI: tcti },
    };
    assert.deepEqual(await ended([main, 'run'], agent, 'connect_failed'), clean);
  });

  it('ends at once when the kubelet says so, and leaves no zombies: the server', async () => {
    const env = {
      ...{ ASSAY_STATE_DIR: join(dir, 'state'), ASSAY_HOST: '127.0.0.1', ASSAY_AGENT_PORT: '0' },
      ...{ ASSAY_API_PORT: '0', ASSAY_METRICS_PORT: '0' },
    };
    assert.deepEqual(await ended([programs['assay-server']], env, 'the server listens'), clean);
  });
});
