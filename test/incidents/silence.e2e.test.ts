import assert from 'node:assert/strict';
import { access, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { type Daemon, startDaemon } from '../../swtpm-fixtures/daemon.ts';
import { type FixtureMachine, startMachine } from '../../swtpm-fixtures/machine.ts';
import { agentsOf, ekDigestOf, startAgent } from '../attest-server/real-agent.ts';
import { startTestServer, type TestServer } from '../attest-server/running-server.ts';
import { programs } from '../programs.ts';
import { assay, follow, goodBoot, investigate, node } from './night.ts';

/** A line to the server that can be cut: then nothing comes through, and nobody is told. */
class Line {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #isCut = false;

  constructor(to: number) {
    this.#server = createServer((near) => {
      const far = connect(to, '127.0.0.1');
      for (const socket of [near, far]) {
        this.#sockets.add(socket);
        socket.on('error', () => {});
        socket.on('close', () => this.#sockets.delete(socket));
      }
      const join = (from: Socket, into: Socket) => {
        from.on('data', (bytes) => void (this.#isCut || into.write(bytes)));
        from.on('close', () => void (this.#isCut || into.destroy()));
      };
      join(near, far);
      join(far, near);
    });
  }

  async open(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  cut(): void {
    this.#isCut = true;
  }

  /** As a machine that comes back: what stood on it before is gone. */
  mend(): void {
    this.#isCut = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.mend();
    this.#server.close();
  }
}

type Program = 'tpm-broker' | 'agent';

/** The programs of a node are processes here, as systemd starts them: they are killed as the kernel kills. */
describe('incidents: a silent node says what became of it', function () {
  this.timeout(180_000);
  const patience = 60_000;
  const running = new Map<Program, Daemon>();
  let dir = '';
  let world: TestServer;
  let machine: FixtureMachine;
  let line: Line;

  const socket = () => join(dir, 'run', 'tpm-broker.sock');
  const begin = async (name: Program) => {
    const words = {
      'tpm-broker': ['tpm-broker', '--socket', socket(), '--tcti', machine.tpm.tcti],
      agent: ['run', '--config', join(dir, 'agent.yaml')],
    }[name];
    running.set(name, await startDaemon(process.execPath, [programs['assay-agent'], ...words]));
    if (name === 'agent') return;
    await world.until(
      () =>
        access(socket()).then(
          () => true,
          () => null,
        ),
      patience,
    );
  };
  const end = async (name: Program, signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL') => {
    await running.get(name)?.kill(signal);
    running.delete(name);
  };
  const reaches = (state: string) =>
    world.until(async () => (await world.status(node))?.state === state, patience);
  const night = { assay: (...words: readonly string[]) => assay(world, words) };
  const silence = async () =>
    /^assay_node_silence_info\{(.*)\} 1$/m.exec(await world.metrics())?.[1] ?? 'none';

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-silence-'));
    await mkdir(join(dir, 'run'), { mode: 0o750 });
    [world, machine] = await Promise.all([
      startTestServer({ challengeEvery: 0.5, answerWithin: 2, unknownAfter: 2, pingEvery: 5 }),
      startMachine({ log: goodBoot }),
    ]);
    line = new Line(world.server.agentPort);
    await writeFile(
      join(dir, 'agent.yaml'),
      JSON.stringify({
        servers: [`127.0.0.1:${await line.open()}`],
        node,
        tpmBroker: socket(),
        stateDir: join(dir, 'state'),
        sysroot: machine.sysroot,
        caFile: world.server.caFile,
        watch: false,
      }),
    );
    await world.pin(node, await ekDigestOf(machine));
    await begin('tpm-broker');
    await begin('agent');
    await world.until(() => world.verdicts.length > 0, patience);
    await world.call('POST', '/v1/references', { node, name: 'good-boot' });
    await reaches('trusted');
  });
  after(async () => {
    line?.close();
    for (const name of running.keys()) await end(name);
    await world?.[Symbol.asyncDispose]();
    await machine?.dispose();
    await rm(dir, { recursive: true, force: true });
  });

  it('its agent was killed', async () => {
    await end('agent');
    await reaches('unknown');
    await investigate(night, {
      steps: [['why', node]],
      cause: ['evidence_overdue', /its connection broke off at \S+Z \(.*\), without a goodbye/, '127.0.0.1'],
      next: ['systemctl status assay-agent', 'journalctl -u assay-agent'],
    });
    assert.match(await silence(), /connection="reset",says="",kubelet="",claimed="false"/);
  });

  it('its agent was killed, and then the server was started anew', async () => {
    await world.restart();
    await investigate(night, {
      steps: [['why', node]],
      cause: [
        /its connection broke off at \S+Z \(.*\), without a goodbye\. This server started at \S+Z \(.*\), and the node has not connected since\./,
        '127.0.0.1',
      ],
      next: ['systemctl status assay-agent', 'systemctl status assay-tpm-broker'],
    });
    assert.match(await silence(), /connection="none",says=""/);
    await begin('agent');
    await reaches('trusted');
  });

  it('its agent was stopped', async () => {
    await end('agent', 'SIGTERM');
    await reaches('unknown');
    await investigate(night, {
      steps: [['why', node]],
      cause: [/its agent closed the connection at .*, and said that it was told to stop/],
      next: ['systemctl start assay-agent'],
    });
    await begin('agent');
    await reaches('trusted');
  });

  it('its TPM broker was killed, as its agent says before it goes', async () => {
    await end('tpm-broker');
    await reaches('unknown');
    const shown = await investigate(night, {
      steps: [['why', node]],
      cause: [/its agent closed the connection at .*, and said that its TPM broker does not answer/],
      next: ['systemctl status assay-tpm-broker', 'journalctl -u assay-tpm-broker'],
    });
    assert(shown.indexOf('assay-tpm-broker') < shown.indexOf('status assay-agent'), shown);
    assert.match(await silence(), /connection="agent",says="tpm_broker"/);
    await rm(socket(), { force: true });
    await begin('tpm-broker');
    await reaches('trusted');
  });

  it('its machine is off, or nothing gets through: at once it is not heard any more, in the end its connection is given up', async () => {
    line.cut();
    await reaches('unknown');
    const next = [/^ping -c 3 127\.0\.0\.1$/, 'systemctl status assay-agent'];
    await investigate(night, {
      steps: [['why', node]],
      cause: [/its agent connected at .* and was last heard at .*, but does not answer/],
      next: ['journalctl -u assay-agent'],
    });
    await world.until(async () => (await silence()).includes('connection="timeout"'), patience);
    await investigate(night, {
      steps: [['why', node]],
      cause: ['evidence_overdue', /nothing has come from it since \S+Z/],
      next,
    });
    line.mend();
    await reaches('trusted');
  });

  it('another TPM claims its name, and what is printed leads to its enrolment (row 402)', async () => {
    await end('agent');
    await using board = await startMachine({ log: goodBoot });
    await using _ = await startAgent(board, node, agentsOf(world));
    await reaches('unknown');
    const digest = await ekDigestOf(board);
    await world.until(
      async () => JSON.stringify(await world.call('GET', '/v1/enrolments')).includes(digest),
      patience,
    );
    const shown = await investigate(night, {
      steps: [['why', node]],
      cause: [/another TPM/i, digest.slice(0, 12), '127.0.0.1'],
      next: [`assay enrol revoke ${node} --reason`, `assay enrol approve ${node} --ek ${digest}`],
    });
    assert(shown.search(/another TPM/i) < shown.indexOf('evidence_overdue'), shown);
    assert.equal(await world.metric('assay_nodes_silent_claimed'), 1);
    assert.match(await silence(), /claimed="true"/);
    await follow(night, shown, 'assay enrol revoke', '--yes');
    await follow(night, shown, 'assay enrol approve');
    await reaches('trusted');
    assert.equal(await world.metric('assay_nodes_silent_claimed'), 0);
  });
});
