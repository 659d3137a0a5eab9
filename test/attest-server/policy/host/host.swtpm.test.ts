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
import { startTestServer, type TestServer } from '../../running-server.ts';

const node = 'node-1';
const listener = `require('node:net').createServer().listen(22, '0.0.0.0', () => process.stdout.write('listens'));`;

/** Each test ends with a node that is trusted, and goes on from there. */
describe('a node whose host opens SSH, where the policy asks for its host', () => {
  let machine: FixtureMachine;
  let dir = '';
  let world: TestServer;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-host-'));
    const policy = join(dir, 'policy.yaml');
    await writeFile(
      policy,
      (await readFile(bootPolicyFile, 'utf8')).replace('identity, boot', 'identity, boot, host'),
    );
    machine = await startMachine({ log: recordedLog('debian13-shim-grub') });
    world = await startTestServer({ challengeEvery: 0.2, answerWithin: 10, policy });
    await vouchFor(world, machine, node);
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await machine?.dispose();
    await rm(dir, { recursive: true, force: true });
  });

  it('is untrusted at once, stays so when it hides what listens, and is trusted when it is closed again (row 63)', async () => {
    const good = await world.status(node);
    assert.deepEqual(good?.verdict?.aspects.host, { status: 'affirming', source: 'host' });
    await using _agent = await startAgent(machine, node, agentsOf(world));
    await whileOpen(() => reaches('untrusted', ['ssh_reachable']));
    // The process is gone, and with it what was seen of its network.
    await reaches('untrusted', ['ssh_reachable', 'facts_unavailable']);
    assert.ok((await world.metric('assay_check_failures_total{check="host"}')) >= 1);
    assert.ok(JSON.stringify(await world.audit()).includes('"ssh_reachable"'));
    await closeAgain();
    await reaches('trusted', []);
  });

  it('is as untrusted on another connection, on which it says nothing of how it runs (row 348)', async () => {
    {
      await using _agent = await startAgent(machine, node, agentsOf(world));
      await whileOpen(() => reaches('untrusted', ['ssh_reachable']));
    }
    await closeAgain();
    const silent = collectors(null).filter(({ name }) => name !== 'running');
    {
      await using _agent = await startAgent(machine, node, agentsOf(world), silent);
      // What it listens on and how it is tainted, neither of which it says.
      await reaches('untrusted', ['ssh_reachable', 'facts_unavailable', 'facts_unavailable']);
      const already = world.verdicts.length;
      await world.until(() => world.verdicts.length > already + 2, 10_000);
      await reaches('untrusted', ['ssh_reachable', 'facts_unavailable', 'facts_unavailable']);
    }
    await using _agent = await startAgent(machine, node, agentsOf(world));
    await reaches('trusted', []);
  });

  const reaches = (state: string, codes: readonly string[]) =>
    world.until(async () => {
      const verdict = (await world.status(node))?.verdict;
      const own = verdict?.reasons.filter(({ aspect }) => aspect === 'host').map(({ code }) => code) ?? [];
      return verdict?.state === state && own.join() === codes.join();
    }, 10_000);

  /** A real socket of a real network becomes that of process 1, until that process is gone. */
  async function whileOpen(seen: () => Promise<unknown>): Promise<void> {
    const [program, ...args] = unshared('--net');
    const child = start(program, [...args, process.execPath, '-e', listener], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      assert(child.stdout);
      await once(child.stdout, 'data');
      await rename(join(machine.sysroot, 'proc/1'), join(machine.sysroot, 'proc/kept'));
      await symlink(`/proc/${child.pid}`, join(machine.sysroot, 'proc/1'));
      await seen();
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }

  async function closeAgain(): Promise<void> {
    await rm(join(machine.sysroot, 'proc/1'));
    await rename(join(machine.sysroot, 'proc/kept'), join(machine.sysroot, 'proc/1'));
  }

  it('has its inventory kept with the evidence, and loses nothing where there is none', async () => {
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
