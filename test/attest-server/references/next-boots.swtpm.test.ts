import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { runInspect } from '../../../agent/inspect/inspect.ts';
import { type NodeView, nodeView } from '../../../attest-server/api/node-api.ts';
import { referenceTrial } from '../../../attest-server/api/policy-api.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { headerBytes, madePe } from '../../../swtpm-fixtures/made-pe.ts';
import { installedBoot } from '../../../swtpm-fixtures/updated-boot.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { bootPolicyFile } from '../boot-policy.ts';
import { agentsOf, type RealAgent, startAgent, vouchFor } from '../real-agent.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const node = 'node-1';
const image = (name: string) =>
  madePe(true, [{ at: headerBytes, content: Buffer.from(name) }], Buffer.alloc(0));
const boot = (version: string) =>
  installedBoot(recordedLog('centos9-shim-grub'), {
    kernel: image(`kernel ${version}`),
    initrd: Buffer.from(`initrd ${version}`),
    from: '5.14.0-183.el9.x86_64',
    to: version,
  });

/** Each test goes on where the one before it ended. */
describe('the forecast of a real agent', () => {
  const [old, next] = [boot('5.14.0-183.el9.x86_64'), boot('5.14.0-570.el9.x86_64')];
  let world: TestServer;
  let machine: FixtureMachine;
  let agent: RealAgent;
  before(async () => {
    world = await startTestServer({ policy: bootPolicyFile });
    machine = await startMachine({ log: old.log });
    await install(old.files);
    await vouchFor(world, machine, node);
    agent = await startAgent(machine, node, agentsOf(world));
  });
  after(async () => {
    await agent?.[Symbol.asyncDispose]();
    await machine?.dispose();
    await world?.[Symbol.asyncDispose]();
  });

  async function put(path: string, content: string | Buffer): Promise<void> {
    await mkdir(dirname(join(machine.sysroot, path)), { recursive: true });
    await writeFile(join(machine.sysroot, path), content);
  }
  async function install(files: Readonly<Record<string, Buffer>>): Promise<void> {
    for (const [path, content] of Object.entries(files)) await put(path, content);
    const quiet = { error() {}, warn() {}, info() {}, debug() {} };
    await runInspect({ parts: ['boot'], sysroot: machine.sysroot }, quiet as never, { write: () => {} });
  }
  const shown = async (): Promise<NodeView> => nodeView.parse(await world.call('GET', `/v1/nodes/${node}`));
  async function foretells(answer: string): Promise<NodeView> {
    let view = await shown();
    await world.until(async () => {
      world.server.challengeNow(node);
      view = await shown();
      return view.nextBoot?.answer === answer;
    }, 10_000);
    return view;
  }

  it('is that what runs would be affirmed again', async () => {
    const { state, nextBoot } = await foretells('would');
    assert.deepEqual([state, nextBoot?.causes], ['trusted', []]);
    assert.equal(await world.metric('assay_nodes_next_boot{answer="would",key="no"}'), 1);
  });

  it('tells before the reboot that a kernel was installed that nobody staged, and changes nothing', async () => {
    const before = await shown();
    await install(next.files);
    const { state, reasons, since, nextBoot } = await foretells('would_not');
    assert.deepEqual([state, reasons, since], ['trusted', [], before.since]);
    assert.match(
      nextBoot?.causes[0]?.text ?? '',
      /newest kernel \/boot\/vmlinuz-5.14.0-570.el9.x86_64 \(sha256:/,
    );
    assert.equal(nextBoot?.causes.length, 2);
  });

  it('is another one once its reference is in force, and a trial of retiring that tells whom it would lock out', async () => {
    const component = (content: Buffer, stage: string) => ({
      stage,
      scope: 'group',
      pcr: 9,
      kind: 'file',
      digests: { sha256: hash('sha256', content, 'hex') },
      description: stage,
    });
    const [kernel, initrd] = Object.values(next.files).map((content, index) =>
      component(content, index === 0 ? 'kernel' : 'initrd'),
    );
    const reference = {
      version: 1,
      name: 'kernel-570',
      group: (await shown()).group,
      state: 'staged',
      expires: null,
      pcrs: {},
      components: [kernel, initrd],
    };
    await world.call('POST', '/v1/references/import', reference);
    const [cause] = (await foretells('would_not')).nextBoot?.causes ?? [];
    assert.match(cause?.next ?? '', /^ {2}assay reference approve kernel-570 /m);
    await world.call('POST', '/v1/references/kernel-570/approve', { reason: 'update' });
    await foretells('would');
    const retired = async () =>
      referenceTrial.parse(await world.call('POST', '/v1/references/kernel-570/retire/simulate', {}))
        .items[0];
    // An equal verdict is written within a second.
    await world.until(async () => (await retired())?.after?.nextBoot === 'would_not', 10_000);
    const trial = await retired();
    assert.deepEqual([trial?.changed, trial?.before?.nextBoot], [false, 'would']);
    await world.call('POST', '/v1/references/kernel-570/retire', { reason: 'not yet' });
    assert.match((await foretells('would_not')).nextBoot?.causes[0]?.text ?? '', /which is retired/);
  });

  it('rests on nothing that is judged: a node that lies about its disk turns no verdict, and gains nothing at its boot (row 440)', async () => {
    const before = await shown();
    const rows = async () => JSON.stringify(await world.call('GET', `/v1/nodes/${node}/history`));
    const history = await rows();
    const lie = (digest: string, booted: boolean) => ({
      at: new Date().toISOString(),
      installed: {
        version: 1,
        files: [{ kind: 'kernel', path: 'boot/vmlinuz-1.2', since: null, booted, digests: [digest] }],
        unread: [],
      },
    });
    // One that nobody knows; then all as it should be, while the unknown kernel lies there.
    for (const [digest, booted, answer] of [
      [hash('sha256', 'a lie', 'hex'), false, 'would_not'],
      [hash('sha256', 'another', 'hex'), true, 'would'],
    ] as const) {
      await put('run/assay/inspect/installed.json', JSON.stringify(lie(digest, booted)));
      const { state, aspects, reasons, since } = await foretells(answer);
      assert.deepEqual(
        [state, aspects, reasons, since],
        [before.state, before.aspects, before.reasons, before.since],
      );
      assert.equal(await rows(), history);
    }
    await agent[Symbol.asyncDispose]();
    await machine.powerCycle(next.log);
    await put(
      'run/assay/inspect/installed.json',
      JSON.stringify(lie(hash('sha256', 'another', 'hex'), true)),
    );
    agent = await startAgent(machine, node, agentsOf(world));
    await world.until(async () => (await world.status(node))?.state === 'untrusted', 20_000);
    assert.equal((await shown()).reason, 'kernel_unknown');
  });

  it('is unknown of what no node can say, and never an all-clear: garbage in the place of the file', async () => {
    await put('run/assay/inspect/installed.json', '{"at":"2026-01-01T00:00:00Z","installed":{}}');
    await foretells('unknown');
  });
});
