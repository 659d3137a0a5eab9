import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import type { Verdict } from '../../attest-server/wire/verdict.ts';
import { type FixtureMachine, startMachine } from '../../swtpm-fixtures/machine.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { agentsOf, startAgent, vouchFor } from './real-agent.ts';
import { startTestServer } from './running-server.ts';

const log = recordedLog('debian13-shim-grub');
const threeHours = 10_800_000;

describe('a TPM whose clock begins anew', () => {
  let machine: FixtureMachine;
  before(async () => {
    machine = await startMachine({ log });
  });
  after(() => machine?.dispose());

  const tool = async (name: string, ...args: readonly string[]) => {
    const env = { TPM2TOOLS_TCTI: machine.tpm.tcti };
    const { stdout } = await run(name, args, { timeoutMs: 20_000, maxOutputBytes: 4096, env });
    return stdout.toString();
  };
  const resetCount = async () => Number(/reset_count: (\d+)/.exec(await tool('tpm2_readclock'))?.[1]);

  it('is told and not held under a higher resetCount: a firmware TPM that lost its power stays trusted (row 28)', async function () {
    this.timeout(60_000);
    await using world = await startTestServer({ challengeEvery: 0.05, policy: 'observe' });
    await vouchFor(world, machine, 'node-1');
    const seen = async (): Promise<Verdict> => {
      const already = world.verdicts.length;
      await using _agent = await startAgent(machine, 'node-1', agentsOf(world));
      await world.until(() => world.verdicts.length > already);
      return world.verdicts[already]!.verdict;
    };
    await tool('tpm2_setclock', '-c', 'p', String(threeHours));
    const before = await seen();
    const resets = await resetCount();
    assert.deepEqual([before.state, before.require], ['trusted', ['identity']]);
    assert((await world.status('node-1'))!.clock! >= BigInt(threeHours));

    await tool('tpm2_clear', '-c', 'p');
    while ((await resetCount()) <= resets) await machine.powerCycle(log);
    const anew = await seen();
    const told = anew.reasons.filter(
      ({ code, expected }) => code === 'rebooted' && /clock/.test(expected ?? ''),
    );
    assert.deepEqual(
      told.map(({ severity, source }) => [severity, source]),
      [['info', 'tpm']],
    );
    assert.deepEqual([...new Set(world.verdicts.map(({ verdict }) => verdict.state))], ['trusted']);
    assert.equal((await world.status('node-1'))?.sequence?.held, null);
  });

  it('is held under a resetCount that fell: the TPM was cleared, or is a snapshot (row 103)', async function () {
    this.timeout(60_000);
    await using world = await startTestServer({ challengeEvery: 0.05, policy: 'observe' });
    await vouchFor(world, machine, 'node-1');
    await using _agent = await startAgent(machine, 'node-1', agentsOf(world));
    await world.until(() => world.verdicts.some(({ verdict }) => verdict.state === 'trusted'));
    await tool('tpm2_clear', '-c', 'p');
    await world.until(() =>
      world.verdicts.some(
        ({ verdict }) =>
          verdict.state === 'untrusted' && verdict.reasons.some(({ code }) => code === 'counter_rollback'),
      ),
    );
  });
});
