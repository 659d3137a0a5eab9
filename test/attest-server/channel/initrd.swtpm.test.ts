import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { bundle as bundleSchema } from '../../../attest-server/formats/bundle.ts';
import { atOnce } from '../../../attest-server/formats/in-steps.ts';
import { verifyBundleEvidence } from '../../../attest-server/verify/bundle-evidence.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import type { AskedSupplement } from '../../../attest-server/wire/messages.ts';
import { madeInitrd, withInitrds } from '../../../swtpm-fixtures/initrd.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { bootPolicyFile } from '../boot-policy.ts';
import { agentsOf, collectorsReading, ekDigestOf, startAgent } from '../real-agent.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const MiB = 1024 * 1024;
const base = recordedLog('debian13-shim-grub');
const imageOf = (name: string, mebibytes = 1) =>
  madeInitrd({ init: Buffer.from(name), 'lib/firmware': randomBytes(mebibytes * MiB) });
const digestOf = (image: Buffer) => hash('sha256', image, 'hex');

/** Each test goes on where the one before it ended. */
describe('real agents whose initrds count by what is in them', () => {
  /** Both are read in several answers: the first one in two of the largest. */
  const common = imageOf('common', 16);
  const own = imageOf('own', 4);
  let folder = '';
  let world: TestServer;
  const machines = new Map<string, FixtureMachine>();
  /** What each node was asked for. */
  const asked = new Map<string, AskedSupplement[]>();
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-initrd-'));
    const policy = join(folder, 'policy.yaml');
    const text = await readFile(bootPolicyFile, 'utf8');
    await writeFile(policy, `${text.trimEnd()}\n    boot: {scope: {initrd: contents}}\n`);
    world = await startTestServer({ policy });
  });
  after(async () => {
    for (const machine of machines.values()) await machine.dispose();
    await world?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  async function boot(node: string, image: Buffer, file: Buffer | null = image): Promise<FixtureMachine> {
    const log = withInitrds(base, [image]);
    const machine = machines.get(node) ?? (await startMachine({ log }));
    if (machines.has(node)) await machine.powerCycle(log);
    else await world.pin(node, await ekDigestOf(machine));
    machines.set(node, machine);
    await mkdir(join(machine.sysroot, 'boot'), { recursive: true });
    if (file !== null) await writeFile(join(machine.sysroot, 'boot/initrd.img-6.12'), file);
    await writeFile(join(machine.sysroot, 'boot/initrd.img-6.11'), 'of another kernel');
    return machine;
  }

  /** @param ends told of each reading, before what was read is sent */
  function startNode(node: string, ends: (count: number) => Promise<void> = async () => {}) {
    const seen: AskedSupplement[] = [];
    asked.set(node, seen);
    const noting = collectorsReading((real) => async (sysroot, signal, wanted) => {
      seen.push(wanted);
      const found = await real.read(sysroot, signal, wanted);
      await ends(seen.length);
      return found;
    });
    const machine = machines.get(node) ?? assert.fail();
    return startAgent(machine, node, agentsOf(world), noting);
  }

  const pathsOf = async (node: string) => {
    const bundle = bundleSchema.parse(await world.call('GET', `/v1/nodes/${node}/bundle`));
    const { initrds } = verifyBundleEvidence(bundle, null).boot ?? assert.fail();
    return initrds.map(({ image, whole }) => [
      image.sha256,
      ...atOnce(whole()).entries.map(({ path }) => path),
    ]);
  };
  const known = (image: Buffer) => [[digestOf(image), 'init', 'lib/firmware']];
  const verdictOf = (node: string, count = 1) =>
    world.until(() => world.verdicts.filter((entry) => entry.node === node).length >= count, 60_000);

  it('send them once, in answers that grow, and are judged by what is in them', async () => {
    await boot('node-1', common);
    await using _agent = await startNode('node-1');
    await verdictOf('node-1');
    const { piece } = limits.initrd;
    assert.deepEqual(
      asked.get('node-1')?.map(({ of: [digest], from, most }) => [digest, from / MiB, most / piece]),
      [
        [digestOf(common), 0, 1],
        [digestOf(common), 1, 2],
        [digestOf(common), 3, 4],
        [digestOf(common), 7, 8],
        [digestOf(common), 15, 8],
      ],
    );
    assert.deepEqual(await pathsOf('node-1'), known(common));
  });

  it('send nothing where another node booted the same', async () => {
    await boot('node-2', common);
    await using _agent = await startNode('node-2');
    await verdictOf('node-2');
    assert.deepEqual([asked.get('node-2'), await pathsOf('node-2')], [[], known(common)]);
  });

  it('go on where the connection broke', async () => {
    await boot('node-1', own);
    const broken = Promise.withResolvers<void>();
    const agent = await startNode('node-1', async (count) => {
      if (count < 3) return;
      broken.resolve();
      await new Promise(() => {});
    });
    await broken.promise;
    await agent[Symbol.asyncDispose]();
    await using _again = await startNode('node-1');
    await world.until(async () => (await pathsOf('node-1'))[0]?.[0] === digestOf(own), 60_000);
    const [first] = asked.get('node-1') ?? [];
    assert.equal(first?.from, 3 * MiB);
    assert.deepEqual(await pathsOf('node-1'), known(own));
  });

  it('gain nothing by sending another initrd than the one that they booted (row 200)', async () => {
    const bad = imageOf('bad');
    await boot('node-3', bad);
    const seen: AskedSupplement[] = [];
    const lying = collectorsReading(() => async (_sysroot, _signal, wanted) => {
      seen.push(wanted);
      return { from: wanted.from, more: false, pieces: [common.subarray(0, MiB)] };
    });
    const machine = machines.get('node-3') ?? assert.fail();
    await using _agent = await startAgent(machine, 'node-3', agentsOf(world), lying);
    await verdictOf('node-3');
    const { state, verdict } = (await world.status('node-3')) ?? assert.fail();
    const codes = verdict?.reasons.map(({ code }) => code) ?? [];
    assert.deepEqual([state, codes.includes('facts_unavailable')], ['pending', true]);
    assert.deepEqual(await pathsOf('node-3'), []);
    const judged = world.verdicts.length;
    assert.equal(world.server.challengeNow('node-3'), true);
    await world.until(
      async () => ((await world.status('node-3'))?.repeats ?? 0) > 0 || world.verdicts.length > judged,
    );
    assert.equal(seen.length, 1, 'it is not asked again at once');
  });

  it('say it where no file of theirs is the initrd that they booted', async () => {
    await boot('node-2', imageOf('lost'), null);
    await using _agent = await startNode('node-2');
    const before = world.verdicts.length;
    await world.until(() => world.verdicts.slice(before).some(({ node }) => node === 'node-2'), 60_000);
    const { state, verdict } = (await world.status('node-2')) ?? assert.fail();
    const codes = verdict?.reasons.map(({ code }) => code) ?? [];
    // What was found in the initrd before stands until the one that it booted now is read.
    assert.deepEqual([state, codes.includes('facts_unavailable')], ['untrusted', true]);
    const facts = bundleSchema.parse(await world.call('GET', '/v1/nodes/node-2/bundle')).facts ?? '';
    assert.match(facts, /"unavailable":\{[^}]*"initrd":"no file of \/boot/);
  });
});
