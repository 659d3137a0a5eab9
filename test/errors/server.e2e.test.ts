import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync, writeSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, beforeEach, describe, it } from 'mocha';
import { start as startProgram } from 'node-tpm2/run';
import { openState } from '../../attest-server/state/open.ts';
import { faultOfStart } from '../attest-server/server-here.ts';
import { programs } from '../programs.ts';
import { type End, endOf } from '../swtpm-fixtures/end-of.ts';

const program = programs['assay-server'];

describe('a server that does not start advises the right thing', () => {
  let dir = '';
  let state = '';
  let runs = 0;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-not-started-'));
  });
  after(() => rm(dir, { recursive: true }));
  beforeEach(async () => {
    runs += 1;
    state = join(dir, `state-${runs}`);
    await mkdir(state, { mode: 0o700 });
  });

  const ports = { ASSAY_AGENT_PORT: '0', ASSAY_API_PORT: '0', ASSAY_METRICS_PORT: '0' };
  const environment = (change: Readonly<Record<string, string>>): Record<string, string> =>
    Object.assign({ ASSAY_HOST: '127.0.0.1', ASSAY_STATE_DIR: state }, ports, change);
  const start = (args: readonly string[], change: Readonly<Record<string, string>> = {}) =>
    endOf([program, '--log-level', 'error', ...args], environment(change));
  /** As the program does with what is right in its configuration, in this process. */
  const startHere = async (
    flags: Readonly<Record<string, string>>,
    change: Readonly<Record<string, string>> = {},
  ) => {
    const { text, exitCode } = await faultOfStart(environment(change), flags);
    return { stderr: `assay-server: ${text}\n`, code: exitCode };
  };
  async function says(
    ended: Promise<Pick<End, 'stderr' | 'code'>>,
    code: number,
    wanted: readonly (string | RegExp)[],
  ): Promise<void> {
    const { stderr, code: found } = await ended;
    for (const part of wanted)
      assert.ok(typeof part === 'string' ? stderr.includes(part) : part.test(stderr), `${part}:\n${stderr}`);
    assert.doesNotMatch(stderr, /^\s+at |node:internal/m);
    assert.equal(found, code, stderr);
  }

  const badPolicy = [
    'apiVersion: assay.dev/v1',
    'kind: Policy',
    'groups:',
    '  - name: all',
    '    nodes: ["*"]',
    '    require: [identity, runtimes]',
    '    enforse: true',
  ].join('\n');

  for (const [where, withPolicy] of [
    ['file', (policy: string) => [`policy: ${policy}\n`, [], {}] as const],
    ['flag', (policy: string) => ['', ['--policy', policy], {}] as const],
    ['variable', (policy: string) => ['', [], { ASSAY_POLICY: policy }] as const],
  ] as const)
    it(`tells all faults of its configuration and of the policy at once, whose name is in a ${where}`, async () => {
      const [config, policy] = [join(dir, `${where}.yaml`), join(dir, `policy-${where}.yaml`)];
      const [line, args, env] = withPolicy(policy);
      await writeFile(policy, badPolicy);
      await writeFile(config, `agentPort: here\nunknown: 1\n${line}`);
      await says(start(['--config', config, ...args], Object.assign({ ASSAY_AGENT_PORT: '' }, env)), 2, [
        `${config}:1: agentPort (ASSAY_AGENT_PORT)`,
        `${config}:2: unknown`,
        `assay-server: the policy ${policy} has 2 faults:\n`,
        `${policy}:6: groups.0.require.1: `,
        `${policy}:7: groups.0.enforse: unknown key`,
      ]);
    });

  it('tells faults of the policy alone', async () => {
    const policy = join(dir, 'alone.yaml');
    await writeFile(policy, badPolicy);
    await says(startHere({ policy }), 2, [`the policy ${policy} has 2 faults:\n`, ':7: groups.0.enforse']);
  });

  it('names the policy that is missing beside the faults of the configuration, and what names it', async () => {
    const missing = join(dir, 'missing.yaml');
    await says(start(['--policy', missing], { ASSAY_API_PORT: 'x' }), 2, [
      'apiPort',
      `${missing} cannot be used`,
    ]);
    await says(startHere({ policy: missing }), 1, [
      `${missing} cannot be used`,
      'policy (ASSAY_POLICY, --policy)',
    ]);
  });

  for (const [key, variable] of [
    ['agentPort', 'ASSAY_AGENT_PORT'],
    ['apiPort', 'ASSAY_API_PORT'],
    ['metricsPort', 'ASSAY_METRICS_PORT'],
  ] as const)
    it(`names the setting whose port is taken: ${key}`, async () => {
      const other = createServer().listen(0, '127.0.0.1');
      await once(other, 'listening');
      const address = other.address();
      const port = String(typeof address === 'object' ? address?.port : 0);
      // Once by the program itself: it gives the words to its streams.
      const ended =
        key === 'agentPort' ? start([], { [variable]: port }) : startHere({}, { [variable]: port });
      await says(ended, 1, [
        `the port ${port} of ${key} (${variable}) is taken`,
        `  ss -ltnp 'sport = :${port}'\n`,
      ]);
      other.close();
    });

  it('names the address that is none of this machine', () =>
    says(startHere({}, { ASSAY_HOST: '192.0.2.1' }), 1, ['192.0.2.1', 'host (ASSAY_HOST)']));

  it('names the state folder that cannot be made, and the one that another server has', async () => {
    await says(startHere({ stateDir: '/proc/nobody' }), 1, ['/proc/nobody cannot be used', '--state-dir']);
    await using _other = await openState(state);
    await says(startHere({}), 1, [`the state folder ${state} is in use by the process ${process.pid}`]);
  });

  it('tells of a database that becomes damaged while it runs what is to be restored', async () => {
    const settings = Object.assign({ ASSAY_HOST: '127.0.0.1', ASSAY_STATE_DIR: state }, ports);
    const run = async (until: (said: string) => Promise<void>) => {
      const child = startProgram(process.execPath, [program], {
        env: settings,
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      const ended = once(child, 'close');
      let said = '';
      for await (const bytes of child.stderr ?? []) {
        said += String(bytes);
        if (said.includes('the server listens')) break;
      }
      child.stderr?.resume();
      await until(said);
      child.kill('SIGTERM');
      await ended;
    };
    await run(async () => {});
    damageTable(join(state, 'assay.db'), 'api_tokens');
    await run(async (said) => {
      const port = /"api":(\d+)/.exec(said)?.[1];
      const { code, stderr } = await endOf(
        [programs.assay, ...'token create --name y --role reader'.split(' ')],
        {
          ASSAY_SERVER: `https://127.0.0.1:${port}`,
          ASSAY_TOKEN_FILE: join(state, 'admin.token'),
          ASSAY_CA_FILE: join(state, 'tls/ca.crt'),
        },
      );
      for (const part of ['is damaged (server_fault)', `  assay-server check --store --state-dir ${state}\n`])
        assert.ok(stderr.includes(part), `${part} is not in:\n${stderr}`);
      // A damaged database does not mend itself.
      assert.doesNotMatch(stderr, /goes on by itself|^\s+at /m);
      assert.equal(code, 1);
    });
  });

  it('names a database that is damaged, and where its copies are, without a trace of the program', async () => {
    await writeFile(join(state, 'assay.db'), randomBytes(40_000), { mode: 0o600 });
    await says(startHere({}), 1, [
      `the store ${join(state, 'assay.db')} cannot be opened`,
      'it does not begin as a database does',
      `  assay-server check --store --state-dir ${state}\n`,
    ]);
  });
});

/** Overwrites the first page of a table, so that the store opens and the table cannot be written. */
function damageTable(file: string, table: string): void {
  const database = new DatabaseSync(file);
  database.exec('pragma wal_checkpoint(truncate)');
  const page = Number(
    database.prepare('select rootpage from sqlite_schema where name = ?').get(table)?.rootpage,
  );
  const size = Number(database.prepare('pragma page_size').get()?.page_size);
  database.close();
  const open = openSync(file, 'r+');
  writeSync(open, randomBytes(size), 0, size, (page - 1) * size);
  closeSync(open);
}
