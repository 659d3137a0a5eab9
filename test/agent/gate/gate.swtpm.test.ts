import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { verifyBundle } from '../../../attest-server/cli/offline/verify/verify.ts';
import { version } from '../../../attest-server/version.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { agentsOf, ekDigestOf, startAgent } from '../../attest-server/real-agent.ts';
import { startTestServer, type TestServer } from '../../attest-server/running-server.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { type GateOfMachine, gateOf } from './started-gate.ts';

const node = 'node-1';
const log = recordedLog('debian13-shim-grub');
const changed = tamper(log, 'kernel');
/** The gate shows nothing of the disk, which the group requires. */
const policy = (more: string) => `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: default
    nodes: ["*"]
    require: [identity, boot, disk]
    disk: {paths: [/var/lib/docker]}
${more}`;

describe('a gate before kubelet', function () {
  this.timeout(60_000);
  let dir = '';
  let world: TestServer;
  let machine: FixtureMachine;
  let gates: GateOfMachine;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-gate-policy-'));
    await writeFile(join(dir, 'policy.yaml'), policy('    mode: enforce\n'));
    [world, machine] = await Promise.all([
      startTestServer({ policy: join(dir, 'policy.yaml') }),
      startMachine({ log }),
    ]);
    gates = await gateOf(machine, node);
  });
  after(async () => {
    await gates?.[Symbol.asyncDispose]();
    await machine?.dispose();
    await world?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  const stateOf = async () => {
    const status = await world.status(node);
    return [status?.state, status?.verdict?.reasons[0]?.code ?? null];
  };
  /** Of the history: each has an entry of the audit log. */
  const rows = async () => (await world.audit()).filter(({ action }) => action === 'verdict').length;
  const openings = async () =>
    (await world.audit())
      .filter(({ action }) => action === 'gate.open')
      .map(({ actor, detail }) => [actor, detail.why, detail.bootId]);
  const obey = async (more: string) => {
    await writeFile(join(dir, 'policy.yaml'), policy(more));
    await world.server.reload();
  };
  const agentSays = async (state: string) => {
    await using _agent = await startAgent(machine, node, agentsOf(world));
    await world.until(async () => (await world.status(node))?.state === state, 15_000);
  };

  it('holds a machine for which nobody has vouched, says so, and opens once its boot is known', async () => {
    const gate = gates.start(agentsOf(world));
    await gate.shows('enrolment_pending');
    await gate.shows('assay enrol list');
    await world.pin(node, await ekDigestOf(machine));
    await gate.shows('no_reference');
    assert.deepEqual(await stateOf(), ['pending', 'no_reference']);
    // Its evidence shows a boot like that of an agent.
    await world.call('POST', '/v1/references', { node, name: 'boot-1' });
    assert.equal(await gate.ended, 0, gate.lines.join(''));
    await gate.shows('identity and boot are affirmed');
    assert.deepEqual(await stateOf(), ['pending', 'rebooted'], 'the gate alone makes no node trusted');
    const bundle = await world.call('GET', `/v1/nodes/${node}/bundle`);
    const { verdict } = verifyBundle(JSON.stringify(bundle), { now: Date.now() });
    assert.deepEqual([verdict.state, verdict.reasons[0]?.code], ['pending', 'rebooted'], 'offline, too');
    assert.deepEqual(await openings(), [['server', 'affirmed', machine.bootId]]);
    assert.equal(await world.metric('assay_gate_openings_total{why="affirmed"}'), 1);
  });

  it('changes nothing of what the agent has proven, and makes it hold no longer', async () => {
    await agentSays('trusted');
    const before = await world.status(node);
    const count = await rows();
    assert.equal(await gates.start(agentsOf(world)).ended, 0);
    const now = await world.status(node);
    assert.deepEqual([now?.state, now?.verifiedAt], ['trusted', before?.verifiedAt]);
    assert.equal(await rows(), count);
    assert.equal((await openings()).length, 1, 'one entry for one boot');
  });

  it('holds a machine with a changed kernel, beside its agent, until an operator lets it go on (row 45)', async () => {
    await machine.powerCycle(changed);
    const gate = gates.start(agentsOf(world));
    await gate.shows('kernel_unknown');
    await gate.shows('assay why node-1');
    assert.deepEqual(await stateOf(), ['untrusted', 'kernel_unknown']);
    {
      await using _agent = await startAgent(machine, node, agentsOf(world));
      await world.until(async () => (await world.metric(`assay_agents{version="${version}"}`)) === 1, 15_000);
      assert.equal(await world.metric('assay_gates_waiting'), 1, 'each has a place of its own');
      const count = await rows();
      world.server.challengeNow(node);
      await world.until(async () => (await world.status(node))?.repeats ?? 0, 10_000);
      assert.equal(await rows(), count, 'the two do not contradict each other');
    }
    await gate.letIn('the disk of the rack is being exchanged');
    assert.equal(await gate.ended, 20);
    await gate.shows('goes on without proof: an operator says: the disk of the rack is being exchanged');
    assert.deepEqual((await openings()).at(-1), ['agent:node-1', 'operator', machine.bootId]);
    assert.deepEqual(await stateOf(), ['untrusted', 'kernel_unknown'], 'that vouches for nothing');
  });

  it('ends what the boot before was, and leaves the rest to the agent (row 114)', async () => {
    await machine.powerCycle(log);
    assert.equal(await gates.start(agentsOf(world)).ended, 0);
    assert.deepEqual(await stateOf(), ['pending', 'rebooted']);
    await agentSays('trusted');
    await machine.mountStorage('plain');
    await agentSays('untrusted');
    const [, code] = await stateOf();
    await machine.powerCycle(log);
    await machine.mountStorage('plain');
    assert.equal(await gates.start(agentsOf(world)).ended, 0);
    // It shows nothing of disks, so that what stood against them stands.
    assert.deepEqual(await stateOf(), ['untrusted', code]);
  });

  it('opens without proof once the time of the policy is over, where the policy says so', async () => {
    await machine.powerCycle(changed);
    await obey('    mode: enforce\n    gate: {timeout: 600, onTimeout: open}\n');
    const gate = gates.start(agentsOf(world));
    await gate.shows('kernel_unknown');
    await gate.shows('and then lets kubelet start');
    gate.pass(600_000);
    assert.equal(await gate.ended, 21);
    assert.deepEqual((await openings()).at(-1), ['agent:node-1', 'timeout', machine.bootId]);
  });

  it('holds for good once its time is over, where nothing says otherwise', async () => {
    await obey('    mode: enforce\n    gate: {timeout: 600}\n');
    const gate = gates.start(agentsOf(world), 900);
    await gate.shows('kernel_unknown');
    await gate.shows('and then holds kubelet for good');
    gate.pass(600_000);
    assert.equal(await gate.ended, 12);
  });

  it('waits while no server answers, and tells the next one what an operator did', async () => {
    const { port, caFile } = agentsOf(world);
    await machine.powerCycle(log);
    const { bootId } = machine;
    await world.restart(async () => {
      const gate = gates.start({ port, caFile });
      await gate.shows('connect_failed');
      await gate.letIn('the server is down');
      assert.equal(await gate.ended, 20);
    });
    assert.equal(await gates.start(agentsOf(world)).ended, 0);
    await world.until(async () =>
      (await openings()).some(([, why, of]) => why === 'operator' && of === bootId),
    );
  });

  it('never waits in mode observe, also with no server to ask', async () => {
    await obey('    mode: observe\n');
    await machine.powerCycle(changed);
    const gate = gates.start(agentsOf(world));
    assert.equal(await gate.ended, 0);
    await gate.shows('mode observe');
    assert.deepEqual((await openings()).at(-1), ['server', 'observe', machine.bootId]);
    const { port, caFile } = agentsOf(world);
    await world.restart(async () => {
      const alone = gates.start({ port, caFile });
      assert.equal(await alone.ended, 0);
      await alone.shows('no server answers, and the last one said mode observe');
    });
  });

  it('cannot be used under the name of another node (row 10)', async () => {
    await obey('    mode: enforce\n');
    await using other = await gateOf(machine, 'node-2');
    const gate = other.start(agentsOf(world));
    await gate.shows('identity_claim_mismatch');
    assert.equal(await gate.stop(), 1);
    assert.equal(await world.status('node-2'), null);
  });
});
