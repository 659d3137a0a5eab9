import assert from 'node:assert/strict';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { agentsOf, ekDigestOf, startAgent } from '../real-agent.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

describe('an agent in a cluster', () => {
  let world: TestServer;
  let machine: FixtureMachine;
  let folder: string;
  const good = new Set(['first.good.token']);
  before(async () => {
    [world, machine, folder] = await Promise.all([
      startTestServer({
        cluster: {
          providerIdOf: async () => null,
          nodeOfToken: async (token) => (good.has(token) ? 'node-1' : null),
          wantsToken: () => true,
          labelsOf: () => ({}),
          systemUuidOf: () => null,
        },
      }),
      startMachine({ log: recordedLog('debian13-shim-grub') }),
      mkdtemp(join(tmpdir(), 'assay-token-')),
    ]);
    await world.pin('node-1', await ekDigestOf(machine));
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await machine?.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  it('waits for its token, shows it, and shows the next one at its next connection', async () => {
    const clusterTokenFile = join(folder, 'token');
    await using agent = await startAgent(machine, 'node-1', { ...agentsOf(world), clusterTokenFile });
    await world.until(() => agent.states.filter(({ phase }) => phase === 'offline').length >= 2, 10_000);
    assert.equal(
      agent.states.some(({ phase }) => phase === 'sent'),
      false,
    );
    await writeFile(clusterTokenFile, 'first.good.token');
    await world.until(() => world.verdicts.length > 0, 30_000);
    // As the kubelet does it: another file under the same name.
    good.clear();
    good.add('second.good.token');
    await writeFile(`${clusterTokenFile}.new`, 'second.good.token');
    await rename(`${clusterTokenFile}.new`, clusterTokenFile);
    const before = agent.states.filter(({ phase }) => phase === 'verdict').length;
    await world.restart();
    await world.until(() => agent.states.filter(({ phase }) => phase === 'verdict').length > before, 30_000);
    assert.equal(
      (await world.audit()).some(({ code }) => code === 'token_rejected'),
      false,
    );
  });
});
