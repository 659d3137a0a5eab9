import assert from 'node:assert/strict';
import {
  access,
  chmod,
  chown,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run, ToolError } from 'node-tpm2/run';
import { pino } from 'pino';
import { runInspect } from '../../agent/inspect/inspect.ts';
import { type Daemon, startDaemon } from '../../swtpm-fixtures/daemon.ts';
import { inspectedPath } from '../../swtpm-fixtures/disk.ts';
import { type FixtureMachine, startMachine } from '../../swtpm-fixtures/machine.ts';
import { programs } from '../programs.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { runAssay } from './cli/cli-fixture.ts';
import { ekDigestOf } from './real-agent.ts';
import { startTestServer, type TestServer } from './running-server.ts';
import { smallDisk } from './small-disk.ts';

/** As in a cluster: the user of the agent's image, and the group that may ask the programs of root. */
const agent = { uid: 65_532, group: 64_999 };
const node = 'node-1';
const root = join(import.meta.dirname, '../..');
const program = [process.execPath, programs['assay-agent']] as const;
const bounds = { timeoutMs: 60_000, maxOutputBytes: 1 << 20 };
const patience = 60_000;

type Helper = 'tpm-broker' | 'netfilter' | 'agent';

describe('a node whose programs have each their own rights', function () {
  this.timeout(180_000);
  let dir = '';
  let runDir = '';
  let world: TestServer;
  let machine: FixtureMachine;
  const running = new Map<Helper, Daemon>();

  before(async function () {
    if (process.getuid?.() !== 0) return this.skip();
    dir = await mkdtemp(join(tmpdir(), 'assay-separated-'));
    await chmod(dir, 0o755);
    runDir = join(dir, 'run');
    [world, machine] = await Promise.all([
      startTestServer({
        policy: join(root, 'attest-server/policy/shipped/strict.yaml'),
        challengeEvery: 1,
        answerWithin: 10,
        unknownAfter: 4,
      }),
      startMachine({ log: recordedLog('debian13-shim-grub'), network: true }),
    ]);
    // Its files are root's, and whoever reads one goes through these.
    await chmod(machine.dir, 0o755);
    await writeFile(join(machine.sysroot, 'etc/group'), `root:x:0:\nassay:x:${agent.group}:\n`);
    await chown(join(machine.sysroot, inspectedPath), 0, agent.group);
    await chmod(join(machine.sysroot, inspectedPath), 0o640);
    await mkdir(join(dir, 'state'), { mode: 0o700 });
    await chown(join(dir, 'state'), agent.uid, agent.uid);
    await cp(world.server.caFile, join(dir, 'ca.pem'));
    await chmod(join(dir, 'ca.pem'), 0o644);
    await world.pin(node, await ekDigestOf(machine));
  });
  after(async () => {
    for (const daemon of running.values()) await daemon.kill('SIGKILL');
    await world?.[Symbol.asyncDispose]();
    await machine?.dispose();
    if (dir !== '') await rm(dir, { recursive: true, force: true });
  });

  /** By its user and group, and without a capability but those named. */
  const as = (user: number, groups: readonly string[], capabilities: string, ...command: readonly string[]) =>
    [
      'setpriv',
      ...[`--reuid=${user}`, ...groups, `--bounding-set=-all${capabilities}`, '--inh-caps=-all'],
      ...['--no-new-privs', '--', ...command],
    ] as const;
  const ofRoot = [`--regid=${agent.group}`, '--clear-groups'];
  const socketOf = (name: 'tpm-broker' | 'netfilter') => join(runDir, `${name}.sock`);
  const makeRunDir = async () => {
    await mkdir(runDir, { mode: 0o750 });
    await chown(runDir, 0, agent.group);
    await chmod(runDir, 0o750);
  };

  const commands: Readonly<Record<Helper, () => readonly string[]>> = {
    'tpm-broker': () =>
      as(
        0,
        ofRoot,
        '',
        ...program,
        'tpm-broker',
        '--socket',
        socketOf('tpm-broker'),
        '--tcti',
        machine.tpm.tcti,
      ),
    netfilter: () => {
      const { network } = machine;
      if (network === null || typeof network === 'string') throw new Error(`no network: ${network}`);
      // The network's own right is taken by nsenter, before the others go.
      return network.inside(
        'setpriv',
        ...as(
          0,
          ofRoot,
          ',+net_admin,+net_raw',
          ...program,
          'netfilter',
          '--socket',
          socketOf('netfilter'),
        ).slice(1),
      );
    },
    agent: () =>
      as(
        agent.uid,
        [`--regid=${agent.uid}`, `--groups=${agent.group}`],
        '',
        ...program,
        'run',
        '--config',
        join(dir, 'agent.yaml'),
      ),
  };

  async function begin(name: Helper): Promise<void> {
    const [first = '', ...rest] = commands[name]();
    const daemon = await startDaemon(first, rest);
    running.set(name, daemon);
    if (name === 'agent') return;
    let said: string | null = null;
    void daemon.ended.then((text) => {
      said = text;
    });
    await world.until(
      () =>
        access(socketOf(name)).then(
          () => true,
          () => {
            if (said !== null) throw new Error(said);
            return null;
          },
        ),
      patience,
    );
  }

  const end = async (name: Helper) => {
    await running.get(name)?.kill('SIGKILL');
    running.delete(name);
  };

  const reaches = async (state: string, code?: string) => {
    try {
      await world.until(async () => {
        const status = await world.status(node);
        return (
          status?.state === state &&
          (code === undefined || status.verdict?.reasons.some((r) => r.code === code))
        );
      }, patience);
    } catch {
      assert.fail(`not ${state} ${code ?? ''}: ${(await why()).slice(0, 3000)}`);
    }
  };
  const why = async () => {
    const { out, err } = await runAssay(['why', node], { env: world.env(), now: Date.now });
    return out + err;
  };

  /** `assay-agent inspect boot`, in this process. */
  const inspectHere = async (out?: string) => {
    const { sysroot } = machine;
    const logger = pino({ level: 'silent' });
    assert.equal(await runInspect({ parts: ['boot'], sysroot, out }, logger, process.stdout), 0);
  };

  it('is trusted under strict, with references of each kind', async () => {
    await makeRunDir();
    await writeFile(
      join(dir, 'agent.yaml'),
      JSON.stringify({
        servers: [`127.0.0.1:${world.server.agentPort}`],
        node,
        tpmBroker: socketOf('tpm-broker'),
        netfilter: socketOf('netfilter'),
        stateDir: join(dir, 'state'),
        sysroot: machine.sysroot,
        caFile: join(dir, 'ca.pem'),
      }),
      { mode: 0o644 },
    );
    await inspectHere();
    await begin('tpm-broker');
    await begin('netfilter');
    await begin('agent');
    await world.until(() => world.verdicts.length > 0, patience);
    for (const kind of ['boot', 'disk', 'firewall'])
      await world.call('POST', '/v1/references', { node, name: `good-${kind}`, kind });
    await reaches('trusted');
    const shown = await why();
    for (const aspect of ['boot', 'disk', 'firewall'])
      assert.match(
        shown,
        new RegExp(`affirmed ${aspect} +(signed by its TPM|said by the node), like reference good-${aspect}`),
      );
  });

  for (const [name, state, code, shows] of [
    ['tpm-broker', 'unknown', 'evidence_overdue', /^ +systemctl status assay-tpm-broker$/m],
    ['netfilter', 'pending', 'fw_unreadable', /^ +systemctl status assay-netfilter$/m],
  ] as const)
    it(`says why when ${name} dies, and what to look at, and is trusted once it runs again`, async () => {
      await end(name);
      await reaches(state, code);
      assert.match(await why(), shows);
      await begin(name);
      await reaches('trusted');
    });

  it('says that inspect wrote nothing, and is trusted once it has', async () => {
    const path = join(machine.sysroot, inspectedPath);
    await rename(path, `${path}.kept`);
    await reaches('pending', 'facts_unavailable');
    assert.match(
      (await why()).replace(/\s+/g, ' '),
      /inspect has written nothing: systemctl enable --now assay-inspect.timer/,
    );
    await rename(`${path}.kept`, path);
    await reaches('trusted');
  });

  it('has both programs end, to be started anew, when the folder of their sockets was removed', async () => {
    const both = ['tpm-broker', 'netfilter'] as const;
    const ends = both.map((name) => running.get(name)?.ended ?? assert.fail());
    await rm(runDir, { recursive: true });
    await makeRunDir();
    for (const said of await Promise.all(ends)) assert.match(said, /assay-agent: the socket .* was removed/);
    for (const name of both) await begin(name);
    await reaches('trusted');
  });

  it('keeps what inspect wrote before when its folder is full, and ends with 1', async () => {
    await using disk = (await smallDisk(1)) ?? assert.fail();
    const out = join(disk.path, 'inspect');
    const inspect = () =>
      run(program[0], [program[1], 'inspect', 'boot', '--sysroot', machine.sysroot, '--out', out], bounds);
    await inspectHere(out);
    const before = await readFile(join(out, 'boot/index.json'));
    disk.fill();
    await assert.rejects(inspect(), (error) => error instanceof ToolError && error.exitCode === 1);
    assert.deepEqual(await readFile(join(out, 'boot/index.json')), before);
    assert.deepEqual(
      (await readdir(join(out, 'boot'))).filter((name) => name.startsWith('.')),
      [],
    );
    disk.empty();
    await inspectHere(out);
  });
});
