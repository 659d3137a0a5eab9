import assert from 'node:assert/strict';
import { once } from 'node:events';
import { lstat, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { ToolError } from 'node-tpm2';
import { run, start } from 'node-tpm2/run';
import { pino } from 'pino';
import { askHealth, parseHealth } from '../../../agent/health/ask-health.ts';
import { serveHealth } from '../../../agent/health/health-socket.ts';
import { runNetfilter } from '../../../agent/netfilter/serve.ts';
import { runBroker } from '../../../agent/tpm-broker/run.ts';
import { makeAuthority } from '../made-authority.ts';

const main = join(import.meta.dirname, '../../../agent/main.ts');

describe('the health of a program', () => {
  let folder = '';
  let socket = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-health-'));
    socket = join(folder, 'own/health.sock');
  });
  afterEach(() => rm(folder, { recursive: true }));

  /** As a kubelet asks in a container. */
  async function probed(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    try {
      await run(process.execPath, [main, 'health', ...args], {
        timeoutMs: 20_000,
        maxOutputBytes: 4096,
        env,
      });
      return 0;
    } catch (error) {
      assert(error instanceof ToolError && error.code === 'failed', String(error));
      return error.exitCode;
    }
  }
  const listening = async (server: Server) => {
    server.listen(join(folder, 'other.sock'));
    await once(server, 'listening');
    return join(folder, 'other.sock');
  };

  it('is what the program says, by a socket for its user and group alone', async () => {
    let health = { isAlive: true, isReady: false, text: 'not judged: connect_failed' };
    await using _ = await serveHealth(socket, () => health);
    assert.equal((await lstat(socket)).mode & 0o777, 0o660);
    assert.deepEqual(await askHealth(socket, 2_000), health);
    const env = { ASSAY_AGENT_HEALTH_SOCKET: socket };
    assert.deepEqual([await probed([], env), await probed(['--ready'], env)], [0, 1]);
    health = { isAlive: true, isReady: true, text: 'connected' };
    assert.equal(await probed(['--ready', '--socket', socket]), 0);
    health = { isAlive: false, isReady: true, text: 'did nothing' };
    assert.equal(await probed(['--socket', socket]), 1);
    assert.equal(await probed([]), 2);
  });

  it('is bad where nothing answers, or something else does', async () => {
    assert.match((await askHealth(socket, 2_000)).text, /ENOENT/);
    const answers: readonly (readonly [string, RegExp])[] = [
      ['no json\n', /the program that answers there has another version/],
      ['{"isAlive":true}\n', /the program that answers there has another version/],
      ['x'.repeat(4096), /too long/],
    ];
    for (const [answer, why] of answers) {
      await using server = createServer((client) => client.on('error', () => {}).end(answer));
      const health = await askHealth(await listening(server), 2_000);
      assert.equal(health.isAlive, false);
      assert.match(health.text, why);
    }
  });

  it('is bad where the answer does not come in time', async () => {
    const clients: (() => void)[] = [];
    const server = createServer((client) => void clients.push(() => client.destroy()));
    const health = await askHealth(await listening(server), 50);
    assert.deepEqual([health.isAlive, /no answer within 50 ms/.test(health.text)], [false, true]);
    for (const end of clients) end();
    server.close();
  });

  it('says a text of another program without its control characters', () => {
    const text = JSON.stringify({ isAlive: true, isReady: true, text: 'a\n\u001b[31mb' });
    assert.equal(parseHealth(text)?.text, 'a??[31mb');
  });

  it('is told to many who never read, and to those after them', async () => {
    await using _ = await serveHealth(socket, () => ({ isAlive: true, isReady: true, text: 'x' }));
    const idle = Array.from({ length: 8 }, () => connect({ path: socket, allowHalfOpen: true }));
    for (const client of idle) client.on('error', () => {});
    await Promise.all(idle.map((client) => once(client, 'connect')));
    const until = performance.now() + 10_000;
    while (!(await askHealth(socket, 500)).isAlive) assert.ok(performance.now() < until);
    for (const client of idle) client.destroy();
  });

  it('of an event loop that is blocked is bad within the time of a probe', async () => {
    const module = join(import.meta.dirname, '../../../agent/health/health-socket.ts');
    const program = `const { serveHealth } = await import(${JSON.stringify(module)});
      await serveHealth(${JSON.stringify(socket)}, () => ({ isAlive: true, isReady: true, text: 'x' }));
      process.stdout.write('listens', () => setTimeout(() => { for (;;); }, 50));`;
    const blocked = start(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    assert.ok(blocked.stdout !== null);
    await once(blocked.stdout, 'data');
    const until = performance.now() + 10_000;
    while ((await askHealth(socket, 200)).isAlive) assert.ok(performance.now() < until);
    blocked.kill('SIGKILL');
    await once(blocked, 'close');
  });

  it('of a broker without a TPM is alive and not ready, of netfilter alive and ready', async () => {
    const ended = new AbortController();
    const logger = pino({ level: 'silent' });
    const parts = { logger, signal: ended.signal };
    const sockets = ['tpm', 'netfilter'].map((name) => join(folder, name, 'health.sock'));
    const [broker = '', netfilter = ''] = sockets;
    const config = { tcti: 'device:/dev/no-such-tpm', logLevel: 'silent' } as const;
    const running = [
      runBroker(
        { ...config, socket: join(folder, 'tpm/tpm.sock'), healthSocket: broker },
        { ...parts, environment: {} },
      ),
      runNetfilter(
        { socket: join(folder, 'netfilter/netfilter.sock'), healthSocket: netfilter, netns: null },
        parts,
      ),
    ];
    const until = performance.now() + 10_000;
    for (const path of sockets)
      while (!(await askHealth(path, 500)).isAlive) assert.ok(performance.now() < until);
    assert.equal((await askHealth(broker, 2_000)).isReady, false);
    assert.equal((await askHealth(netfilter, 2_000)).isReady, true);
    ended.abort();
    await Promise.all(running);
    assert.match((await askHealth(broker, 500)).text, /ENOENT|ECONNREFUSED/);
  });

  it('of an agent is alive and not ready while it has neither server nor TPM', async () => {
    const config = join(folder, 'agent.yaml');
    const settings = {
      ...{ node: 'node-1', servers: ['127.0.0.1:1'], tcti: 'device:/dev/no-such-tpm', watch: false },
      ...{ stateDir: join(folder, 'state'), healthSocket: socket, caFile: join(folder, 'ca.crt') },
    };
    await writeFile(config, JSON.stringify(settings));
    await using authority = await makeAuthority();
    await writeFile(settings.caFile, authority.ca);
    const agent = start(process.execPath, [main, 'run', '--config', config], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ASSAY_AGENT_LOG_LEVEL: 'silent' },
    });
    const until = performance.now() + 20_000;
    let health = await askHealth(socket, 500);
    while (!/connect_failed/.test(health.text)) {
      assert.ok(performance.now() < until, health.text);
      health = await askHealth(socket, 500);
    }
    assert.deepEqual([health.isAlive, health.isReady], [true, false]);
    agent.kill('SIGTERM');
    assert.deepEqual(await once(agent, 'close'), [0, null]);
  });
});
