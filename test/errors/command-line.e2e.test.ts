import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import { after, before, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { joinTokenAnswer, tokenAnswer } from '../../attest-server/api/api.ts';
import { runAssay } from '../attest-server/cli/cli-fixture.ts';
import { startTestServer, type TestServer } from '../attest-server/running-server.ts';
import { madeEvent, madeNode } from '../attest-server/store/made-records.ts';
import { identityIn } from '../attest-server/tls/made-identity.ts';
import { programs } from '../programs.ts';
import { shared } from '../swtpm-fixtures/end-of.ts';

const root = join(import.meta.dirname, '../..');
const launcher = programs.assay;

interface Case {
  readonly what: string;
  readonly args: readonly string[];
  readonly code: number;
  /** What is wrong, and what to do: all of it stands on standard error. */
  readonly says: readonly (string | RegExp)[];
}

describe('an error of the command line advises the right thing', () => {
  let world: TestServer;
  let dir = '';
  let env: Record<string, string> = {};
  const port = { agents: 0, api: 0, metrics: 0, closed: 0 };
  const url = (of: keyof typeof port, host = 'localhost') => `https://${host}:${port[of]}`;
  /** In this process: that the program gives the same to its streams is what the last cases are about. */
  const assay = async (...args: readonly string[]) => {
    const { code, out, err } = await runAssay(args, { env, now: Date.now });
    return { code, stdout: out, stderr: err };
  };

  before(async () => {
    world = await startTestServer({ policy: 'observe' });
    dir = join(world.stateDir, 'errors');
    await mkdir(dir);
    const { agentPort, apiPort, metricsPort } = world.server;
    Object.assign(port, {
      agents: agentPort,
      api: apiPort,
      metrics: metricsPort,
      closed: await closedPort(),
    });
    env = {
      HOME: dir,
      ASSAY_SERVER: url('api'),
      ASSAY_TOKEN_FILE: join(world.stateDir, 'admin.token'),
      ASSAY_CA_FILE: world.server.caFile,
    };
    const other = await identityIn(await privateFolder(join(dir, 'other')), ['localhost'], Date.now());
    await cp(other.caFile, join(dir, 'other.pem'));
    await writeFile(join(dir, 'empty'), '');
    await writeFile(join(dir, 'wrong.token'), `assay.${'A'.repeat(12)}.${'A'.repeat(43)}\n`);
    await writeFile(join(dir, 'two.token'), 'two words\n');
  });
  after(() => world?.[Symbol.asyncDispose]());

  const cases = (): readonly Case[] => [
    {
      what: 'an authority file of another server',
      args: ['--ca-file', join(dir, 'other.pem'), 'get', 'nodes'],
      code: 1,
      says: ['other.pem did not sign', 'It shows one of', 'tls/ca.crt', '--ca-file'],
    },
    {
      what: 'an authority file that is no PEM',
      args: ['--ca-file', join(root, 'README.md'), 'get', 'nodes'],
      code: 1,
      says: ['README.md holds no certificate in PEM', 'tls/ca.crt'],
    },
    {
      what: 'the port of the agents',
      args: ['--server', url('agents'), 'get', 'nodes'],
      code: 1,
      says: ['is the port of the agents', 'apiPort', '    --server https://localhost:8444\n'],
    },
    {
      what: 'the port of the metrics',
      args: ['--server', url('metrics'), 'get', 'nodes'],
      code: 1,
      says: ['does not speak TLS', 'port of the metrics', '    --server https://localhost:8444\n'],
    },
    {
      what: 'a port where nothing listens',
      args: ['--server', url('closed'), 'get', 'nodes'],
      code: 1,
      says: ['cannot be reached: nothing listens there', 'apiPort'],
    },
    {
      what: 'a host that nobody knows',
      args: ['--server', 'https://nobody.invalid:8444', 'get', 'nodes'],
      code: 1,
      says: ['nobody.invalid:8444 cannot be reached: no address is known', '--server'],
    },
    {
      what: 'an address without TLS',
      args: ['--server', 'http://localhost:8444', 'get', 'nodes'],
      code: 2,
      says: ['https://HOST:8444'],
    },
    {
      what: 'a token of another server',
      args: ['--token-file', join(dir, 'wrong.token'), 'get', 'nodes'],
      code: 1,
      says: ['refused the token in', 'wrong.token', '    assay token create --name NAME'],
    },
    {
      what: 'a token file that is a folder',
      args: ['--token-file', dir, 'get', 'nodes'],
      code: 1,
      says: [/errors is a folder/, '--token-file'],
    },
    {
      what: 'a token file that is empty',
      args: ['--token-file', join(dir, 'empty'), 'get', 'nodes'],
      code: 1,
      says: ['is empty', 'assay token create'],
    },
    {
      what: 'a token file that holds no token',
      args: ['--token-file', join(dir, 'two.token'), 'get', 'nodes'],
      code: 1,
      says: ['two.token holds no token', 'assay token create'],
    },
    {
      what: 'a token file that is not there',
      args: ['--token-file', join(dir, 'none'), 'get', 'nodes'],
      code: 1,
      says: ['none does not exist', '--token-file'],
    },
    {
      what: 'a token of too low a role',
      args: ['--token-file', join(dir, '..', 'reader.token'), 'token', 'list'],
      code: 1,
      says: [
        'needs the role admin',
        'has the role reader',
        '    assay token create --name NAME --role admin\n',
      ],
    },
    {
      what: 'a place in a history that is none',
      args: ['history', 'node-1', '--before', 'nonsense'],
      code: 2,
      says: ['--before nonsense', '    assay history node-1 -o json'],
    },
    {
      what: 'a README in place of a bundle',
      args: ['verify', join(root, 'README.md')],
      code: 10,
      says: ['README.md is no bundle', '    assay bundle NODE -f FILE'],
    },
  ];
  for (const { what } of cases())
    it(`names ${what}, and what to do`, async () => {
      const found = cases().find((each) => each.what === what);
      assert(found !== undefined);
      const { code, stdout, stderr } = await assay(...found.args);
      assertSays(stderr, found.says);
      assert.deepEqual([code, stdout], [found.code, '']);
    });

  it('does not say of a README that a node be taken out of service', async () => {
    const { stdout, stderr } = await assay('verify', join(root, 'README.md'), '-o', 'table');
    assert.doesNotMatch(stdout + stderr, /out of service/);
  });

  it('says when a token expired, and how to make another of its name', async () => {
    const made = tokenAnswer.parse(
      await world.call('POST', '/v1/tokens', { name: 'night-shift', role: 'reader', ttlSeconds: 1 }),
    );
    const file = join(dir, 'expired.token');
    await writeFile(file, made.token);
    await sleep(1_050);
    const { code, stderr } = await assay('--token-file', file, 'get', 'nodes');
    const command = 'assay token create --name night-shift --role reader';
    assertSays(stderr, ['expired.token', `expired at ${made.expiresAt}`, `    ${command}\n`]);
    assert.equal(code, 1);
    // The command that was shown does it: a name whose token is over is free.
    assert.equal((await assay(...command.split(' ').slice(1))).code, 0);
    assert.equal((await assay(...command.split(' ').slice(1))).code, 1);
  });

  it('says of a join token that its node is enrolled already, and how to free the name', async () => {
    await world.store.enrolment.enrol(madeNode('node-7'), madeEvent('enrol', 'node-7'));
    const { code, stdout, stderr } = await assay('join-token', 'create', '--node', 'node-7', '-o', 'json');
    assert.equal(joinTokenAnswer.parse(JSON.parse(stdout)).nameEnrolled, true);
    assertSays(stderr, ['enrolled as node-7 already', '  assay enrol revoke node-7 --reason "']);
    assert.equal(code, 0);
    const fresh = await assay('join-token', 'create', '--node', 'node-8');
    assert.doesNotMatch(fresh.stderr, /already/);
  });

  it('names the names of a certificate that is for another one', async () => {
    const identity = await identityIn(await privateFolder(join(dir, 'named')), ['assay.example'], Date.now());
    const server = createTlsServer({ cert: identity.chain, key: identity.key }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { stderr, code } = await assay(
      '--ca-file',
      identity.caFile,
      '--server',
      `https://127.0.0.1:${portOf(server)}`,
      'get',
      'nodes',
    );
    server.close();
    assertSays(stderr, ['is not for 127.0.0.1, but for assay.example', '--server', 'names (ASSAY_NAMES)']);
    assert.equal(code, 1);
  });

  it('says of a server of npm start that is over that it does not run', async () => {
    const folder = join(dir, 'clone');
    await mkdir(join(folder, '.assay'), { recursive: true });
    await writeFile(join(folder, '.assay', 'admin.token'), 'a-token', { mode: 0o600 });
    const entry = { server: url('closed'), tokenFile: 'admin.token', caFile: env.ASSAY_CA_FILE };
    await writeFile(join(folder, '.assay', 'cli.json'), JSON.stringify(entry));
    const { code, stderr } = await endIn(folder);
    assertSays(stderr, ['npm start no longer runs in this folder', 'cli.json', '    npm start\n']);
    assert.equal(code, 1);
    // Another server took its port meanwhile.
    const taken = { server: url('api'), tokenFile: 'admin.token', caFile: join(dir, 'other.pem') };
    await writeFile(join(folder, '.assay', 'cli.json'), JSON.stringify(taken));
    assertSays((await endIn(folder)).stderr, ['npm start no longer runs', 'another server answers']);
  });

  async function endIn(cwd: string) {
    const script = 'cd "$1" && exec "$2" "$3" get nodes';
    return heard(
      start('sh', ['-c', script, 'sh', cwd, process.execPath, launcher], {
        env: { ...shared, HOME: dir },
        stdio: ['ignore', 'ignore', 'pipe'],
      }),
    );
  }

  for (const args of [['get', 'nodes'], ['get', 'nodes', '-o', 'json'], ['--help']])
    it(`says that standard output could not be written, and does not end with 0: ${args.join(' ')}`, async () => {
      const full = openSync('/dev/full', 'w');
      const child = start(process.execPath, [launcher, ...args], {
        env: { ...shared, ...env },
        stdio: ['ignore', full, 'pipe'],
      });
      closeSync(full);
      const { stderr, code } = await heard(child);
      assert.equal(stderr, 'assay: standard output could not be written: no space left on device\n');
      assert.equal(code, 1);
    });

  for (const how of ['>&-', '>&- 2>&-', '| true', '>/dev/full 2>/dev/full'])
    it(`ends without a word of its own where nobody takes its output: ${how}`, async () => {
      const script = `"$0" "$1" get nodes ${how}`;
      const { stderr, code } = await heard(
        start('sh', ['-c', script, process.execPath, launcher], {
          env: { ...shared, ...env },
          stdio: ['ignore', 'ignore', 'pipe'],
        }),
      );
      assert.deepEqual([stderr, code], ['', how.includes('/dev/full') ? 1 : 0]);
    });

  it('says of a file that it cannot write why not', async () => {
    const { code, stderr } = await assay('audit', 'export', join(dir, 'none', 'audit.jsonl'));
    assertSays(stderr, ['audit.jsonl', 'ENOENT']);
    assert.equal(code, 1);
  });
});

/** What it says on standard error, to its end. */
async function heard(child: ReturnType<typeof start>): Promise<{ stderr: string; code: unknown }> {
  const ended = once(child, 'close');
  let stderr = '';
  child.stderr?.on('data', (bytes: Buffer) => {
    stderr += bytes.toString();
  });
  const [code]: unknown[] = await ended;
  return { stderr, code };
}

function assertSays(said: string, wanted: readonly (string | RegExp)[]): void {
  for (const part of wanted)
    assert.ok(
      typeof part === 'string' ? said.includes(part) : part.test(said),
      `${part} is not in:\n${said}`,
    );
  assert.doesNotMatch(said, /^\s+at |node:internal/m);
}

async function privateFolder(path: string): Promise<string> {
  await mkdir(path, { mode: 0o700 });
  return path;
}

function portOf(server: { address(): unknown }): number {
  const address = server.address();
  return typeof address === 'object' && address !== null && 'port' in address ? Number(address.port) : 0;
}

async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = portOf(server);
  server.close();
  await once(server, 'close');
  return port;
}
