import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, it } from 'mocha';
import { run, start, ToolError } from 'node-tpm2/run';
import { z } from 'zod';
import { startAuditLogAnew } from '../../attest-server/commands/audit-key.ts';
import { serverValues } from '../../attest-server/config.ts';
import { logLevels } from '../../attest-server/settings/settings.ts';
import { programs } from '../programs.ts';
import { faultOfStart } from './server-here.ts';

const program = programs['assay-server'];
const ports = ['ASSAY_AGENT_PORT', 'ASSAY_API_PORT', 'ASSAY_METRICS_PORT'] as const;

const line = z.looseObject({ level: z.enum(logLevels), time: z.iso.datetime() });

/** Each test goes on where the one before it ended. */
describe('the start of a server', function () {
  this.timeout(60_000);
  let dir = '';
  const children: ReturnType<typeof start>[] = [];
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-start-'));
  });
  after(() => {
    for (const child of children) child.kill('SIGKILL');
    rmSync(dir, { recursive: true });
  });

  const environment = (own: Readonly<Record<string, string>> = {}) => ({
    ASSAY_STATE_DIR: join(dir, 'state'),
    ASSAY_HOST: '127.0.0.1',
    ...Object.fromEntries(ports.map((name) => [name, '0'])),
    ...own,
  });
  /** A server that listens, and what it wrote until then. */
  async function listening(own: Readonly<Record<string, string>> = {}, ...args: readonly string[]) {
    const child = start(process.execPath, [program, ...args], {
      env: environment(own),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    children.push(child);
    let said = '';
    await new Promise<void>((resolve, reject) => {
      child.stderr?.on('data', (text: Buffer) => {
        said += String(text);
        if (said.includes('the server listens')) resolve();
      });
      child.once('exit', () => reject(new Error(said)));
    });
    return { child, said };
  }

  const taken = (name: string, port: number) => new RegExp(`the port ${port} of \\w+ \\(${name}\\) is taken`);
  const [last, ...first] = ports.toReversed();
  for (const name of first)
    it(`leaves nothing behind where the port ${name} is taken, and says which`, async () => {
      await using occupied = await occupiedPort();
      const open = process.getActiveResourcesInfo();
      const { text, exitCode } = await faultOfStart(environment({ [name]: String(occupied.port) }));
      assert.match(text, taken(name, occupied.port));
      assert.equal(exitCode, 1);
      for (const end = performance.now() + 30_000; ; await sleep(20)) {
        const left = process.getActiveResourcesInfo();
        const more = left.filter((kind) => count(left, kind) > count(open, kind));
        if (more.length === 0) break;
        assert.ok(performance.now() < end, more.join());
      }
    });

  it(`leaves nothing behind where the port ${last} is taken: the process ends by itself, and says which`, async () => {
    await using occupied = await occupiedPort();
    // What it ends with is then all that it writes.
    const env = environment({ [last ?? '']: String(occupied.port), ASSAY_LOG_LEVEL: 'error' });
    await assert.rejects(
      run(process.execPath, [program], { timeoutMs: 30_000, maxOutputBytes: 4096, env }),
      (error) =>
        error instanceof ToolError &&
        error.exitCode === 1 &&
        taken(last ?? '', occupied.port).test(error.message),
    );
  });

  it('is logged: first the configuration, in one line; levels are words, and times in RFC 3339', async () => {
    const file = join(dir, 'server.yaml');
    writeFileSync(file, 'names: [a.example]\nlogLevel: warn\n');
    const { said } = await listening({ ASSAY_LOG_LEVEL: 'info' }, '--config', file, '--policy', 'strict');
    const lines = said
      .trimEnd()
      .split('\n')
      .map((text) => line.parse(JSON.parse(text)));
    assert.equal(lines[0]?.code, 'configuration');
    assert.equal(lines[0]?.file, file);
    assert.deepEqual(
      lines[0]?.settings,
      serverValues({
        file: null,
        environment: environment({ ASSAY_NAMES: 'a.example', ASSAY_POLICY: 'strict' }),
        flags: {},
      }),
    );
    const secrets = ['admin.token', 'reader.token'].map((name) =>
      readFileSync(join(dir, 'state', name), 'utf8').trim(),
    );
    assert.ok(secrets.every((secret) => secret !== '' && !said.includes(secret)));
  });

  it('is refused on the state folder of another one, until that one is dead, by whatever (row 127)', async () => {
    const first = children.at(-1) ?? assert.fail();
    assert.equal(first.exitCode, null);
    const names = new RegExp(`${join(dir, 'state')}.*\\b${first.pid}\\b`);
    const { text, exitCode } = await faultOfStart(environment());
    assert.match(text, names);
    assert.equal(exitCode, 1);
    const folders = { stateDir: join(dir, 'state'), keysDir: join(dir, 'state') };
    const anew = () => startAuditLogAnew(folders, 'the disk broke');
    await assert.rejects(anew(), names);
    const died = once(first, 'exit');
    first.kill('SIGKILL');
    await died;
    const { child: second } = await listening();
    const ended = once(second, 'exit');
    second.kill('SIGTERM');
    assert.deepEqual(await ended, [0, null]);
    // The folder is free, and so it is the key that is told of.
    await assert.rejects(anew(), /audit\.key exists/);
  });
});

const count = (all: readonly string[], kind: string) => all.filter((each) => each === kind).length;

async function occupiedPort(): Promise<{ readonly port: number } & AsyncDisposable> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('there is no port');
  return {
    port: address.port,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, 'close');
    },
  };
}
