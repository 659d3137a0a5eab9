import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { z } from 'zod';
import { logLevels } from '../../attest-server/settings/settings.ts';
import { adviceOn } from '../../attest-server/wire/advice.ts';
import { type MadeAuthority, makeAuthority } from './made-authority.ts';
import { startTinyServer, type TinyServer } from './tiny-server.ts';

const main = join(import.meta.dirname, '../../agent/main.ts');
const line = z.looseObject({ level: z.enum(logLevels), time: z.iso.datetime(), node: z.literal('node-1') });

describe('what an agent logs', function () {
  this.timeout(60_000);
  let authority: MadeAuthority;
  let server: TinyServer;
  let folder = '';
  const secret = randomBytes(32).toString('base64url');
  before(async () => {
    authority = await makeAuthority();
    folder = await mkdtemp(join(tmpdir(), 'assay-agent-log-'));
    await writeFile(join(folder, 'token'), `assay-join.v1.id1.${secret}.${authority.digest}\n`);
    const { key, cert } = await authority.issue();
    server = await startTinyServer({ key, cert: cert + authority.ca }, (socket) => {
      socket.once('message', () => {
        socket.send(JSON.stringify({ type: 'error', code: 'ek_already_bound' }));
        socket.close(1008, 'ek_already_bound');
      });
    });
  });
  after(async () => {
    await server[Symbol.asyncDispose]();
    await authority[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  /** Runs the program until its server refused it. */
  async function linesOf(env: Record<string, string>, file: object | null = null) {
    const config = join(folder, 'agent.yaml');
    await writeFile(config, JSON.stringify(file));
    const agent = start(process.execPath, [main, 'run', ...(file === null ? [] : ['--config', config])], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env,
    });
    let said = '';
    agent.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (said.includes('the server refused') && !agent.killed) agent.kill('SIGTERM');
    });
    assert.deepEqual(await once(agent, 'close'), [0, null], said);
    const lines = said.trimEnd().split('\n');
    return { said, lines: lines.map((text) => line.parse(JSON.parse(text))) };
  }

  const settings = () => ({
    SERVERS: `127.0.0.1:${server.port}`,
    NODE: 'node-1',
    TCTI: 'device:/dev/no-such-tpm',
    STATE_DIR: join(folder, 'state'),
    JOIN_TOKEN_FILE: join(folder, 'token'),
  });
  const environment = () =>
    Object.fromEntries(Object.entries(settings()).map(([name, value]) => [`ASSAY_AGENT_${name}`, value]));

  it('begins with the configuration in one line, has levels as words and times in RFC 3339, and no secret', async () => {
    const file = { node: 'node-of-the-file', logLevel: 'debug' };
    const { said, lines } = await linesOf(environment(), file);
    assert.equal(lines[0]?.code, 'configuration');
    assert.equal(lines[0]?.file, join(folder, 'agent.yaml'));
    assert.deepEqual(lines[0]?.settings, {
      servers: [`127.0.0.1:${server.port}`],
      node: 'node-1',
      caFile: null,
      netfilter: null,
      joinTokenFile: join(folder, 'token'),
      clusterTokenFile: null,
      tcti: 'device:/dev/no-such-tpm',
      tpmBroker: null,
      watch: true,
      healthSocket: null,
      stateDir: join(folder, 'state'),
      sysroot: '/',
      logLevel: 'debug',
    });
    assert.ok(!said.includes(secret));
  });

  it('says with a refusal the next step that the command says', async () => {
    const { lines } = await linesOf(environment());
    const refusal = lines.find(({ code }) => code === 'ek_already_bound');
    assert.equal(refusal?.level, 'warn');
    assert.equal(refusal?.next, adviceOn('ek_already_bound', { node: 'node-1' }));
  });
});
