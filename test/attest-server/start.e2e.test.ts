import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { run, start, ToolError } from 'node-tpm2/run';
import { z } from 'zod';
import { serverValues } from '../../attest-server/config.ts';
import { logLevels } from '../../attest-server/protocol/settings.ts';
import { programs } from '../programs.ts';

const program = programs['assay-server'];
const ports = ['ASSAY_AGENT_PORT', 'ASSAY_API_PORT', 'ASSAY_METRICS_PORT'] as const;

const line = z.looseObject({ level: z.enum(logLevels), time: z.iso.datetime() });

describe('the start of a server', function () {
  this.timeout(60_000);
  let dir = '';
  const children: ReturnType<typeof start>[] = [];
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-start-'));
  });
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    rmSync(dir, { recursive: true });
  });

  const environment = (own: Readonly<Record<string, string>> = {}) => ({
    ASSAY_STATE_DIR: join(dir, 'state'),
    ASSAY_HOST: '127.0.0.1',
    ...Object.fromEntries(ports.map((name) => [name, '0'])),
    ...own,
  });
  /** Runs the program until it ends by itself; fails where it does not. */
  const ends = (env: Readonly<Record<string, string>>, ...args: readonly string[]) =>
    run(process.execPath, [program, ...args], {
      timeoutMs: 30_000,
      maxOutputBytes: 4096,
      // What it ends with is then all that it writes.
      env: { ...env, ASSAY_LOG_LEVEL: 'error' },
    });
  const refused = (text: RegExp) => (error: unknown) =>
    error instanceof ToolError && error.exitCode === 1 && text.test(error.message);

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

  for (const name of ports)
    it(`leaves nothing behind where the port ${name} is taken: the process ends by itself, and says which`, async () => {
      const { taken, port } = await occupied();
      try {
        await assert.rejects(
          ends(environment({ [name]: String(port) })),
          refused(new RegExp(`the port ${port} of \\w+ \\(${name}\\) is taken`)),
        );
      } finally {
        taken.close();
      }
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
    const { child: first } = await listening();
    const names = new RegExp(`${join(dir, 'state')}.*\\b${first.pid}\\b`);
    await assert.rejects(ends(environment()), refused(names));
    const anew = ['audit-key', '--start-anew', '--reason', 'the disk broke'];
    await assert.rejects(ends(environment(), ...anew), refused(names));
    const died = once(first, 'exit');
    first.kill('SIGKILL');
    await died;
    const { child: second } = await listening();
    const ended = once(second, 'exit');
    second.kill('SIGTERM');
    assert.deepEqual(await ended, [0, null]);
    // The folder is free, and so it is the key that is told of.
    await assert.rejects(ends(environment(), ...anew), refused(/audit\.key exists/));
  });
});

async function occupied(): Promise<{ readonly taken: Server; readonly port: number }> {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const address = taken.address();
  if (address === null || typeof address === 'string') throw new Error('there is no port');
  return { taken, port: address.port };
}
