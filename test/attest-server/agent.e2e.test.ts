import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { askHealth } from '../../agent/health/ask-health.ts';
import { version } from '../../attest-server/version.ts';
import { type Daemon, startDaemon } from '../../swtpm-fixtures/daemon.ts';
import { type FixtureMachine, startMachine } from '../../swtpm-fixtures/machine.ts';
import { tamper } from '../../swtpm-fixtures/tamper.ts';
import { programs } from '../programs.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { ekDigestOf } from './real-agent.ts';
import { startTestServer, type TestServer } from './running-server.ts';

const log = recordedLog('debian13-shim-grub');
const program = programs['assay-agent'];
const node = 'node-1';
const patience = 60_000;

/** Each test goes on where the one before it ended. */
describe('an agent and a server, end to end', () => {
  let world: TestServer;
  let machine: FixtureMachine;
  let folder = '';
  let agent: Daemon | null = null;
  before(async () => {
    [world, machine, folder] = await Promise.all([
      startTestServer({ challengeEvery: 0.5 }),
      startMachine({ log }),
      mkdtemp(join(tmpdir(), 'assay-e2e-')),
    ]);
  });
  after(async () => {
    await agent?.kill('SIGKILL');
    await world?.[Symbol.asyncDispose]();
    await machine?.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  async function startAgent(more: { readonly healthSocket?: string } = {}): Promise<void> {
    const file = join(folder, 'agent.yaml');
    const settings = {
      node,
      tcti: machine.tpm.tcti,
      sysroot: machine.sysroot,
      stateDir: join(folder, 'state'),
      servers: [`127.0.0.1:${world.server.agentPort}`],
      caFile: world.server.caFile,
      ...more,
    };
    await writeFile(file, JSON.stringify(settings), { mode: 0o600 });
    agent = await startDaemon(process.execPath, [program, 'run', '--config', file]);
  }

  const reaches = (state: string, code: string | null) =>
    world.until(async () => {
      const verdict = (await world.status(node))?.verdict;
      if (verdict?.state !== state || (verdict.reasons[0]?.code ?? null) !== code) return null;
      return verdict;
    }, patience);

  it('is pending while nobody has vouched for what it boots', async () => {
    await world.pin(node, await ekDigestOf(machine));
    await startAgent();
    await reaches('pending', 'no_reference');
    assert.equal((await world.store.enrolment.node(node))?.bound, 'pin');
    assert.equal((await world.audit()).find(({ action }) => action === 'enrol')?.subject, node);
  });

  it('is trusted once an operator does', async () => {
    await world.call('POST', '/v1/references', { node, name: 'good' });
    const verdict = await reaches('trusted', null);
    assert.deepEqual(verdict.require, ['identity', 'boot']);
    assert.equal(await world.metric(`assay_node_trusted{node="${node}"}`), 1);
    assert.equal(await world.metric('assay_nodes{state="trusted"}'), 1);
  });

  it('listens on no port and no socket, while its server is seen to (row 82)', async () => {
    assert.deepEqual(await listeningSockets(agent?.pid ?? 0), []);
    const servers = await listeningSockets(process.pid);
    assert(servers.filter((each) => each.startsWith('tcp')).length >= 3, String(servers));
  });

  it('keeps its state over a restart of the server, and comes back to it by itself', async () => {
    const before = await world.status(node);
    await world.restart();
    assert.equal((await world.status(node))?.ekDigest, before?.ekDigest);
    const view = await world.call('GET', `/v1/nodes/${node}`);
    assert(typeof view === 'object' && view !== null && 'state' in view && view.state === 'trusted');
    const already = world.verdicts.length;
    await world.until(() => world.verdicts.length > already, patience);
    assert.equal(world.verdicts.at(-1)?.verdict.state, 'trusted');
    assert.equal(world.verdicts.at(-1)?.transition, false);
    assert.equal(await world.metric(`assay_agents{version="${version}"}`), 1);
  });

  it('becomes untrusted when another kernel boots, and the event is named', async () => {
    await agent?.kill('SIGKILL');
    await machine.powerCycle(tamper(log, 'kernel'));
    const healthSocket = join(folder, 'health/agent.sock');
    await startAgent({ healthSocket });
    const verdict = await reaches('untrusted', 'kernel_unknown');
    // It does its work, whatever the server thinks of the node.
    const health = await world.until(async () => {
      const now = await askHealth(healthSocket, 2_000);
      return now.isReady ? now : null;
    }, patience);
    assert.ok(health.isAlive);
    const [reason] = verdict.reasons;
    assert.match(`${reason?.text} ${reason?.evidence?.position}`, /PCR \d|event \d/i);
    assert(reason?.expected !== reason?.actual && reason?.source === 'tpm');
    const entry = (await world.audit()).findLast(({ action }) => action === 'verdict');
    assert.deepEqual([entry?.code, entry?.detail.state], ['kernel_unknown', 'untrusted']);
    assert.equal(await world.metric(`assay_node_trusted{node="${node}"}`), 0);
  });

  it('stays untrusted while it is silent, and is trusted again after the good boot', async () => {
    await agent?.kill('SIGKILL');
    await world.restart();
    assert.equal((await world.status(node))?.state, 'untrusted');
    await machine.powerCycle(log);
    await startAgent();
    await reaches('trusted', null);
    const codes = world.verdicts.map(({ verdict }) => verdict.reasons[0]?.code ?? verdict.state);
    const story = codes.filter((code, index) => code !== codes[index - 1]);
    const [first, ...rest] = ['no_reference', 'trusted', 'rebooted', 'kernel_unknown', 'rebooted', 'trusted'];
    assert.deepEqual(story, [first, ...rest]);
  });
});

/** What of a process takes connections or datagrams: of each socket its table in /proc/net and its inode (proc(5)). */
async function listeningSockets(pid: number): Promise<readonly string[]> {
  const links = await Promise.all(
    (await readdir(`/proc/${pid}/fd`)).map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')),
  );
  const found: string[] = [];
  for (const table of ['tcp', 'tcp6', 'udp', 'udp6', 'raw', 'raw6', 'unix']) {
    const text = await readFile(`/proc/${pid}/net/${table}`, 'utf8').catch(() => '');
    for (const line of text.split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      const inode = fields[table === 'unix' ? 6 : 9];
      const listens = table.startsWith('tcp')
        ? fields[3] === '0A'
        : table !== 'unix' || (Number(`0x${fields[3]}`) & 0x10000) !== 0;
      if (listens && links.includes(`socket:[${inode}]`)) found.push(`${table} ${inode}`);
    }
  }
  return found;
}
