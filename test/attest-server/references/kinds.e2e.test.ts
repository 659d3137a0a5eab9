import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { referenceView } from '../../../attest-server/api/api.ts';
import { listOf } from '../../../attest-server/api/list.ts';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { observationsAnswer, referenceTrial } from '../../../attest-server/api/policy-api.ts';
import type { PartName } from '../../../attest-server/wire/evidence.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { diskPartOfFolder } from '../../recorded/disk-folder.ts';
import { firewallPartOfFolder } from '../../recorded/firewall-folder.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { introduce } from '../attacker.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { partOf } from '../verify/made-by-hand.ts';
import { madeQuote } from '../verify/made-quote.ts';

const recorded = join(import.meta.dirname, '../../../swtpm-fixtures/recorded-nodes');
/** By the last digit of the node: no two nodes have one volume key. */
const disks: Readonly<Record<string, string>> = {
  1: '01-luks2',
  2: '14-luks2-partition',
  3: '05-lvm-on-luks2',
};
const log = recordedLog('debian13-sdboot-uki');
const policy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: workers
    nodes: ["*"]
    mode: observe
    require: [identity, boot, disk, firewall]
`;

describe('references of every kind, at one server', () => {
  let dir: string;
  let world: TestServer;
  const tpms = new Map<string, ForgedTpm>();
  const firewalls = new Map<string, string>();
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-kinds-'));
    await writeFile(join(dir, 'policy.yaml'), policy);
    world = await startTestServer({ policy: join(dir, 'policy.yaml') });
    for (const [node, rules] of [
      ['node-1', 'fw-01-worker-iptables-nft'],
      ['node-2', 'fw-01-worker-iptables-nft'],
      ['node-3', 'fw-02-worker-ssh-open'],
    ] as const) {
      const tpm = forgedTpm();
      tpms.set(node, tpm);
      firewalls.set(node, rules);
      await world.pin(node, tpm.ekDigest);
      await answer(node);
    }
    await world.call('POST', '/v1/references', { nodes: [...tpms.keys()], name: 'boots' });
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });

  /** Connects, answers with a boot, a disk of its own and the rules of its firewall, and gives state and first code. */
  async function answer(node: string): Promise<string> {
    const tpm = tpms.get(node) ?? assert.fail();
    const peer = await introduce(world, tpm, node, { hello: { speaks: ['parts', 'codes', 'paths'] } });
    const challenge = await peer.challenge();
    assert.deepEqual(challenge.paths, ['/var/lib/docker', '/var/lib/containerd', '/var/lib/kubelet']);
    const disk = await diskPartOfFolder(join(recorded, 'disk', disks[node.at(-1) ?? ''] ?? ''));
    const parts: Partial<Record<PartName, Buffer>> = {
      disk: Buffer.from(JSON.stringify(disk)),
      firewall: Buffer.from(
        JSON.stringify(await firewallPartOfFolder(join(recorded, 'firewall', firewalls.get(node) ?? ''))),
      ),
    };
    for (const bytes of [log, ...Object.values(parts)])
      if (!challenge.holds.includes(partOf(bytes).digest)) peer.send(binaryFrame('part', bytes));
    const occasion = { node, hello: peer.hello, channel: peer.channel, bootLog: log };
    const quote = (data: Buffer) =>
      madeQuote(tpm.ak, data, { pcrs: { sha256: replayedValues(log, 'sha256') } });
    peer.send(tpm.evidenceOfParts(challenge, occasion, parts, quote));
    const { state } = await peer.verdict();
    await peer.close();
    return state;
  }

  const assay = (...words: readonly string[]) =>
    runAssay(words, {
      cwd: dir,
      env: world.env(),
    });
  const found = async (...words: readonly string[]) => JSON.parse((await assay(...words, '-o', 'json')).out);

  it('draft a firewall once there is one, and say before that how to make it', async () => {
    const drafted = async () => (await assay('policy', 'suggest')).out;
    assert.match(await drafted(), /assay reference capture node-1 --kind firewall --name NAME$/m);
    const { code, out } = await assay(
      'reference',
      'capture',
      'node-1',
      '--kind',
      'firewall',
      '--name',
      'rules',
    );
    assert.deepEqual(
      [code, out],
      [0, 'reference rules (firewall) captured from node-1 for group workers: active\n'],
    );
    assert.match(await drafted(), /^ {4}# firewall: \{ baseline: rules \}/m);
    const seen = observationsAnswer.parse(await world.call('GET', '/v1/policy/observations'));
    assert.deepEqual(
      seen.items.map(({ node, posture }) => [node, posture.firewall?.references]),
      [
        ['node-1', ['rules']],
        ['node-2', ['rules']],
        ['node-3', []],
      ],
    );
  });

  it('make the nodes trusted that are like them, by their own word', async () => {
    assert.deepEqual(
      [await answer('node-1'), await answer('node-2'), await answer('node-3')],
      ['trusted', 'trusted', 'untrusted'],
    );
    const view = nodeView.parse(await world.call('GET', '/v1/nodes/node-1'));
    assert.deepEqual(view.aspects.firewall, { status: 'affirming', source: 'host', references: ['rules'] });
    assert.match((await assay('get', 'nodes', '-o', 'wide')).out, /^node-1 .* disk, firewall +observe /m);
    const why = (await assay('why', 'node-1')).out.replaceAll(/ +/g, ' ');
    assert.match(why, /^ affirmed identity signed by its TPM$/m);
    assert.match(why, /^ affirmed boot signed by its TPM, like reference boots/m);
    assert.match(why, /^ affirmed disk said by the node$/m);
    assert.match(why, /^ affirmed firewall said by the node, like reference rules/m);
    const open = (await assay('why', 'node-3')).out;
    assert.match(open, /^ *\+ -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT$/m);
  });

  it('are listed by their kind, and each has one name over all kinds', async () => {
    const list = listOf(referenceView).parse(await found('get', 'references'));
    assert.deepEqual(
      list.items.map(({ name, kind }) => [name, kind]),
      [
        ['boots', 'boot'],
        ['rules', 'firewall'],
      ],
    );
    const some = listOf(referenceView).parse(await found('reference', 'list', '--kind', 'firewall'));
    assert.deepEqual(
      some.items.map(({ name }) => name),
      ['rules'],
    );
    for (const name of ['boots', 'rules'])
      assert.equal((await assay('reference', 'capture', 'node-1', '--kind', 'disk', '--name', name)).code, 1);
    assert.equal((await assay('reference', 'capture', 'node-1', '--kind', 'disks', '--name', 'd')).code, 2);
  });

  it('differ line by line, go to files and come back, and are never compared across kinds', async () => {
    assert.equal(
      (await assay('reference', 'capture', 'node-3', '--kind', 'firewall', '--name', 'open', '--staged'))
        .code,
      0,
    );
    const { code, out } = await assay('reference', 'diff', 'rules', 'open');
    assert.equal(code, 10);
    assert.match(out, /^--- rules\n\+\+\+ open\n@@ /);
    assert.match(out, /^\+ {2}-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT$/m);
    assert.equal((await found('reference', 'diff', 'rules', 'open')).kind, 'firewall');
    assert.equal((await assay('reference', 'diff', 'boots', 'rules')).code, 1);
    assert.equal((await assay('reference', 'export', 'rules', '-f', './rules.json')).code, 0);
    assert.equal((await assay('reference', 'diff', 'rules', './rules.json')).code, 0);
    assert.equal((await assay('reference', 'import', './rules.json')).code, 1);
  });

  it('say of a step whom it reaches, and which others say the same', async () => {
    const trial = async (name: string, action: string) =>
      referenceTrial.parse(await world.call('POST', `/v1/references/${name}/${action}/simulate`, {}));
    const retired = await trial('rules', 'retire');
    assert.deepEqual(
      retired.items.map(({ node, like, after }) => [node, like, after?.state]),
      [
        ['node-1', true, 'pending'],
        ['node-2', true, 'pending'],
        ['node-3', false, 'pending'],
      ],
    );
    const { err } = await assay('reference', 'approve', 'open', '--reason', 'wanted', '--yes');
    assert.match(err, /^of 3 nodes, 1 is like reference open; 1 would turn trusted: node-3$/m);
    assert.equal(await answer('node-3'), 'trusted');
    const disks = await assay(
      'reference',
      'capture',
      'node-1',
      'node-2',
      '--kind',
      'disk',
      '--name',
      'disks',
    );
    assert.equal(disks.code, 0, disks.err);
    assert.deepEqual([await answer('node-1'), await answer('node-3')], ['trusted', 'trusted']);
    const one = await trial('disks', 'revoke');
    assert.deepEqual(
      one.items.map(({ like }) => like),
      [true, false, false],
    );
    const audit = (await world.audit()).filter(({ subject }) => subject === 'disks-2');
    assert.deepEqual(
      audit.map(({ action, detail }) => [action, detail.kind, detail.node]),
      [['reference.capture', 'disk', 'node-2']],
    );
  });

  it('are in a bundle, and judge it offline as here; another policy may be tried on them', async () => {
    assert.equal((await assay('bundle', 'node-3', '-f', './node-3.json')).code, 0);
    const offline = await found('verify', './node-3.json');
    assert.deepEqual([offline.state, offline.from], ['trusted', 'context']);
    const strict = await assay('policy', 'simulate', 'strict', '-o', 'json');
    const tried = JSON.parse(strict.out).items.map((item: { after: { state: string } }) => item.after.state);
    // A group of another name has none of these references, and no node says anything of its host.
    assert.deepEqual(tried, ['pending', 'pending', 'pending']);
  });
});
