import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { z } from 'zod';
import { Unavailable } from '../../../../agent/collectors/collector.ts';
import { collectors } from '../../../../agent/collectors/list.ts';
import { type FixtureMachine, startMachine } from '../../../../swtpm-fixtures/machine.ts';
import { unshared } from '../../../own-namespaces.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { bootPolicyFile } from '../../boot-policy.ts';
import { agentsOf, startAgent, vouchFor } from '../../real-agent.ts';
import { startTestServer } from '../../running-server.ts';

const node = 'node-1';
const listener = `require('node:net').createServer().listen(22, '0.0.0.0', () => process.stdout.write('listens'));`;

describe('a node whose host opens SSH, where the policy asks for its host', () => {
  let machine: FixtureMachine;
  let dir = '';
  let policy = '';
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-host-'));
    policy = join(dir, 'policy.yaml');
    await writeFile(
      policy,
      (await readFile(bootPolicyFile, 'utf8')).replace('identity, boot', 'identity, boot, host'),
    );
    machine = await startMachine({ log: recordedLog('debian13-shim-grub') });
  });
  after(async () => {
    await machine?.dispose();
    await rm(dir, { recursive: true, force: true });
  });

  it('is untrusted at once, stays so when it hides what listens, and is trusted when it is closed again (row 63)', async () => {
    await using world = await startTestServer({ challengeEvery: 0.2, answerWithin: 10, policy });
    await vouchFor(world, machine, node);
    const good = await world.status(node);
    assert.deepEqual(good?.verdict?.aspects.host, { status: 'affirming', source: 'host' });
    await using _agent = await startAgent(machine, node, agentsOf(world));
    const reaches = (state: string, codes: readonly string[]) =>
      world.until(async () => {
        const verdict = (await world.status(node))?.verdict;
        const own = verdict?.reasons.filter(({ aspect }) => aspect === 'host').map(({ code }) => code) ?? [];
        return verdict?.state === state && own.join() === codes.join();
      }, 10_000);
    const [closed, kept] = [join(machine.sysroot, 'proc/1'), join(machine.sysroot, 'proc/kept')];
    // A real socket of a real network, which becomes that of process 1.
    const [program, ...args] = unshared('--net');
    const child = start(program, [...args, process.execPath, '-e', listener], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      assert(child.stdout);
      await once(child.stdout, 'data');
      await rename(closed, kept);
      await symlink(`/proc/${child.pid}`, closed);
      await reaches('untrusted', ['ssh_reachable']);
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    // The process is gone, and with it what was seen of its network.
    await reaches('untrusted', ['ssh_reachable', 'facts_unavailable']);
    assert.ok((await world.metric('assay_check_failures_total{check="host"}')) >= 1);
    assert.ok(JSON.stringify(await world.audit()).includes('"ssh_reachable"'));
    await rm(closed);
    await rename(kept, closed);
    await reaches('trusted', []);
  });

  it('has its inventory kept with the evidence, and loses nothing where there is none', async () => {
    await using world = await startTestServer({ challengeEvery: 0.2, answerWithin: 10 });
    await vouchFor(world, machine, node);
    const taken = Buffer.from('{"system":{"model":"X1"}}');
    let isThere = false;
    const others = collectors(null).filter(({ name }) => name !== 'inventory');
    await using _agent = await startAgent(machine, node, agentsOf(world), [
      ...others,
      {
        name: 'inventory',
        part: 'inventory',
        read: async () => (isThere ? taken : new Unavailable('the program gave no answer')),
      },
    ]);
    const partOf = async () =>
      bundle.parse(await world.call('GET', `/v1/nodes/${node}/bundle`)).parts.inventory?.bytes ?? null;
    const already = world.verdicts.length;
    await world.until(() => world.verdicts.length > already + 1, 10_000);
    assert.deepEqual([(await world.status(node))?.verdict?.state, await partOf()], ['trusted', null]);
    isThere = true;
    await world.until(async () => (await partOf()) === taken.toString('base64'), 10_000);
    assert.equal((await world.status(node))?.verdict?.state, 'trusted');
  });
});

const bundle = z.object({ parts: z.record(z.string(), z.object({ bytes: z.string().optional() })) });
