import assert from 'node:assert/strict';
import { chmod, chown, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { agentValues, configOf } from '../../agent/config.ts';
import { runAgent } from '../../agent/run.ts';
import { readConfigFile } from '../../attest-server/settings/config-file.ts';
import { createLogger } from '../../attest-server/settings/logger.ts';
import { type MadeAuthority, makeAuthority } from '../agent/made-authority.ts';
import { startTinyServer, type TinyServer } from '../agent/tiny-server.ts';
import { startTestServer, type TestServer } from '../attest-server/running-server.ts';
import { programs } from '../programs.ts';

const program = programs['assay-agent'];
/** `nobody`: whom no file of root's lets in. */
const nobody = 65_534;
const isRoot = process.getuid?.() === 0;

describe('an agent that cannot work advises the right thing', () => {
  let dir = '';
  let authority: MadeAuthority;
  let world: TestServer;
  let elsewhere: TinyServer;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-agent-errors-'));
    await chmod(dir, 0o755);
    authority = await makeAuthority();
    await writeFile(join(dir, 'ca.pem'), authority.ca);
    await writeFile(join(dir, 'README.md'), '# no certificate\n');
    elsewhere = await startTinyServer(
      await authority.issue({ names: 'DNS:assay.example,IP:192.0.2.7' }),
      () => {},
    );
    world = await startTestServer({ policy: 'observe' });
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await elsewhere?.[Symbol.asyncDispose]();
    await authority?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  let runs = 0;
  /** Runs the agent, as nobody where this is root, until it said all of that or ended. */
  async function says(
    change: Readonly<Record<string, string | readonly string[]>>,
    wanted: readonly string[],
    endsItself = false,
  ): Promise<{ readonly said: string; readonly code: number | null }> {
    runs += 1;
    const state = join(dir, `state-${runs}`);
    await mkdir(state, { mode: 0o700 });
    if (isRoot) await chown(state, nobody, nobody);
    const as = ['--reuid', `${nobody}`, '--regid', `${nobody}`, '--clear-groups', '--'];
    const config = join(dir, `agent-${runs}.yaml`);
    const settings = {
      node: 'node-1',
      servers: ['127.0.0.1:1'],
      caFile: join(dir, 'ca.pem'),
      stateDir: state,
      tcti: 'device:/dev/tpmrm99',
      logLevel: 'warn',
    };
    await writeFile(config, JSON.stringify(Object.assign(settings, change)));
    const agent = [process.execPath, program, 'run', '--config', config];
    const [command = '', ...args] = isRoot ? ['setpriv', ...as, ...agent] : agent;
    const child = start(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    const code = await new Promise<number | null>((resolve) => {
      const late = setTimeout(() => child.kill('SIGKILL'), 15_000);
      child.stderr?.on('data', (bytes: Buffer) => {
        said += bytes.toString();
        if (!endsItself && wanted.every((part) => said.includes(part))) child.kill('SIGTERM');
      });
      child.once('close', (ended) => {
        clearTimeout(late);
        resolve(ended);
      });
    });
    for (const part of wanted) assert.ok(said.includes(part), `${part} is not in:\n${said}`);
    assert.doesNotMatch(said, /^\s+at /m);
    return { said, code };
  }

  /** As the program does with a configuration that is right, in this process, until it said all of that. */
  async function saysHere(
    change: Readonly<Record<string, string | readonly string[]>>,
    wanted: readonly string[],
  ): Promise<{ readonly said: string }> {
    runs += 1;
    const stateDir = join(dir, `state-${runs}`);
    await mkdir(stateDir, { mode: 0o700 });
    const settings = { node: 'node-1', caFile: join(dir, 'ca.pem'), tcti: 'device:/dev/tpmrm99', stateDir };
    const config = join(dir, `agent-${runs}.yaml`);
    const file = await readConfigFile(config, async () => JSON.stringify(Object.assign(settings, change)));
    const values = agentValues({ file, environment: {}, flags: {} });
    const stop = new AbortController();
    let said = '';
    const stream = {
      write(text: string) {
        said += text;
        if (wanted.every((part) => said.includes(part))) stop.abort();
      },
    };
    const logger = createLogger('warn', { node: values.node }, stream);
    await runAgent(configOf(values), {
      logger,
      signal: AbortSignal.any([stop.signal, AbortSignal.timeout(15_000)]),
    });
    for (const part of wanted) assert.ok(said.includes(part), `${part} is not in:\n${said}`);
    assert.doesNotMatch(said, /^\s+at /m);
    return { said };
  }

  it('names a port where nothing listens', () =>
    says({ servers: ['127.0.0.1:1'] }, [
      'connect_failed',
      'nothing listens there',
      'agentPort of the server, 8443',
    ]));

  it('names a host that nobody knows', () =>
    saysHere({ servers: ['nobody.invalid:8443'] }, ['no address is known for that name']));

  it('names the port of the API, and that of the metrics', async () => {
    const { apiPort, metricsPort } = world.server;
    const caFile = join(dir, 'world.pem');
    await writeFile(caFile, world.ca);
    await saysHere({ caFile, servers: [`127.0.0.1:${apiPort}`] }, ['is it the port of the API?', '8443']);
    await saysHere({ caFile, servers: [`127.0.0.1:${metricsPort}`] }, ['does not speak TLS', '8443']);
  });

  it('names the names of a certificate that is for another one, and both places to mend it', () =>
    saysHere({ servers: [`127.0.0.1:${elsewhere.port}`] }, [
      'its certificate is for assay.example, 192.0.2.7, and not for 127.0.0.1',
      'name one of these in servers',
      'add 127.0.0.1 to names (ASSAY_NAMES) of the server',
    ]));

  it('says where the authority is that did not sign the server’s certificate', async () => {
    const { agentPort } = world.server;
    await saysHere({ servers: [`127.0.0.1:${agentPort}`] }, [
      'no authority that this agent trusts',
      'tls/ca.crt',
      'caFile',
    ]);
  });

  it('says of a join token that did not enrol it which one that was, and how to make another', async () => {
    await using stern = await startTinyServer(await authority.issue(), (socket) => {
      socket.on('message', () => socket.send(JSON.stringify({ type: 'error', code: 'enrolment_pending' })));
    });
    const joinTokenFile = join(dir, 'join.token');
    await writeFile(joinTokenFile, `assay-join.v1.${'A'.repeat(12)}.${'A'.repeat(43)}.${authority.digest}\n`);
    await chmod(joinTokenFile, 0o644);
    const { said } = await saysHere({ joinTokenFile, servers: [`127.0.0.1:${stern.port}`] }, [
      `the server did not enrol node-1 by the join token in ${joinTokenFile}`,
      'assay join-token create --node node-1',
    ]);
    assert.doesNotMatch(said, /A{43}/);
  });

  for (const [what, name] of [
    ['holds no certificate in PEM', 'README.md'],
    ['cannot be read (ENOENT)', 'none.pem'],
  ] as const)
    it(`ends with 1 for an authority file that ${what}`, async () => {
      const { code } = await says({ caFile: join(dir, name) }, [name, what, 'tls/ca.crt'], true);
      assert.equal(code, 1);
    });

  describe('for a TPM that its user may not open', () => {
    const user = isRoot ? 'nobody' : process.env.USER;
    const closed = async (name: string, gid: number, mode: number) => {
      const path = join(dir, name);
      await writeFile(path, '');
      if (isRoot) await chown(path, 0, gid);
      await chmod(path, mode);
      return path;
    };

    it('names the rule that gives a device to a group', async function () {
      // Files of others are root's to make.
      if (!isRoot) this.skip();
      const path = await closed('tpmrm0', 0, 0o600);
      await says({ tcti: `device:${path}` }, ['"code":"unsupported_tpm"', path, 'udev', 'usermod -aG tss']);
    });

    it('names the group that may open it', async function () {
      if (!isRoot) this.skip();
      const [, group = '', gid = ''] =
        /^([a-z_-]+):[^:]*:([1-9]\d{0,2}):/m.exec(await readFile('/etc/group', 'utf8')) ?? [];
      const path = await closed('tpmrm1', Number(gid), 0o660);
      await says({ tcti: `device:${path}` }, [`mode 660, group ${group}`, `usermod -aG ${group} ${user}`]);
    });

    it('says how the socket of a software TPM is opened to it', async function () {
      if (!isRoot) this.skip();
      const path = await closed('sock', 0, 0o600);
      await says({ tcti: `swtpm:path=${path}` }, [path, 'run the software TPM as', `chmod g+rw ${path}`]);
    });

    it('names the folder on the way that it may not enter', async () => {
      const folder = join(dir, 'folder');
      await mkdir(folder);
      await writeFile(join(folder, 'sock'), '');
      await chmod(folder, isRoot ? 0o700 : 0o000);
      await says({ tcti: `swtpm:path=${folder}/sock` }, [`may not enter the folder ${folder}`, 'chmod g+rx']);
      await chmod(folder, 0o700);
    });
  });
});
