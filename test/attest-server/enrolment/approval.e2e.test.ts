import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { agentsOf, ekDigestOf, type RealAgent, startAgent } from '../real-agent.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const patience = 60_000;

/** Each test goes on where the one before it ended. */
describe('a person who vouches for a machine from the command line', () => {
  let world: TestServer;
  let machine: FixtureMachine;
  let agent: RealAgent | null = null;
  let digest = '';
  before(async () => {
    [world, machine] = await Promise.all([
      startTestServer({ policy: 'observe', challengeEvery: 0.5 }),
      startMachine({ log: recordedLog('debian13-shim-grub') }),
    ]);
    digest = await ekDigestOf(machine);
    agent = await startAgent(machine, 'node-1', agentsOf(world));
  });
  after(async () => {
    await agent?.[Symbol.asyncDispose]();
    await world?.[Symbol.asyncDispose]();
    await machine?.dispose();
  });

  const assay = async (args: readonly string[], tokenFile = 'admin.token') => {
    const ran = await runAssay(args, { env: world.env(tokenFile) });
    assert.equal(ran.code, 0, ran.err);
    return ran.out;
  };
  const trusted = () =>
    world.until(async () => (await world.status('node-1'))?.state === 'trusted', patience);

  it('gets a token of her own name', async () => {
    const text = await assay(['token', 'create', '--name', 'alice', '--role', 'operator', '--ttl', '8h']);
    await writeFile(join(world.stateDir, 'alice'), text, { mode: 0o600 });
    assert.match(await assay(['token', 'list']), /^alice +operator +token:admin/m);
  });

  it('sees the machine wait, with the digest that she finds on it', async () => {
    await world.until(async () => (await assay(['enrol', 'list'], 'alice')).includes(digest), patience);
    assert.equal(await assay(['get', 'nodes', '-o', 'name'], 'alice'), '');
  });

  it('approves it, and the agent enrols by itself', async () => {
    await assay(['enrol', 'approve', 'node-1', '--ek', digest], 'alice');
    await trusted();
    assert.match(await assay(['describe', 'node', 'node-1'], 'alice'), /approval/);
    const entry = (await world.audit()).find(({ action }) => action === 'enrol.approve');
    assert.deepEqual([entry?.actor, entry?.subject], ['token:alice', 'node-1']);
  });

  it('takes it back, and the agent waits again until she approves it anew', async () => {
    await assay(['enrol', 'revoke', 'node-1', '--reason', 'sold to nobody', '--yes'], 'alice');
    assert.equal(await assay(['get', 'nodes', '-o', 'name'], 'alice'), '');
    await world.until(async () => (await assay(['enrol', 'list'], 'alice')).includes(digest), patience);
    await assay(['enrol', 'approve', 'node-1', '--ek', digest], 'alice');
    await trusted();
    assert.deepEqual(
      (await world.audit())
        .filter(({ subject, action }) => subject === 'node-1' && action.startsWith('enrol'))
        .map(({ actor, action }) => `${actor} ${action}`),
      [
        'token:alice enrol.approve',
        'agent:node-1 enrol',
        'token:alice enrol.revoke',
        'token:alice enrol.approve',
        'agent:node-1 enrol',
      ],
    );
  });
});
