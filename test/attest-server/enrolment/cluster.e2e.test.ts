import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { pino } from 'pino';
import { z } from 'zod';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { serverConfig } from '../../../attest-server/config.ts';
import { PolicyError } from '../../../attest-server/policy/file/policy-error.ts';
import { startServer } from '../../../attest-server/server.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { assertRefused, introduce } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const policy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - { name: cloud, nodes: ["cloud-*"], enrolment: [cloud] }
  - { name: scaled, nodes: ["scaled-*"], enrolment: [vendor] }
  - { name: asked, nodes: ["asked-*"], enrolment: [pin, first-use] }
  - { name: gpu, nodes: ["gpu-*"], tpm: absent }
  - { name: others, nodes: ["*"], enrolment: [pin] }
`;

describe('a server in a cluster, over real connections', () => {
  let world: TestServer;
  let folder: string;
  let policyFile: string;
  const machines = new Map<string, string>();
  const tokens = new Map<string, string>();
  /** By whom tokens were shown. */
  const askers: string[] = [];
  const labels = new Map<string, Record<string, string>>();

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-cluster-'));
    policyFile = join(folder, 'policy.yaml');
    await writeFile(policyFile, policy);
    const cloudProgram = join(folder, 'ek-of');
    const script = `#!${process.execPath}
      const file = require('node:path').join(__dirname, process.argv[2].replace(/\\W/g, '-'));
      try { process.stdout.write(require('node:fs').readFileSync(file)); } catch { process.exitCode = 3; }\n`;
    await writeFile(cloudProgram, script);
    await chmod(cloudProgram, 0o700);
    world = await startTestServer({
      policy: policyFile,
      cloudProgram,
      cluster: {
        providerIdOf: async (node) => machines.get(node) ?? null,
        nodeOfToken: async (token, { source, node, isAtHome }) => {
          askers.push(node === null ? source : `${node} ${isAtHome ? 'at home' : `at ${source}`}`);
          return tokens.get(token) ?? null;
        },
        labelsOf: (node) => labels.get(node) ?? {},
        systemUuidOf: () => null,
        wantsToken: (node) => node.startsWith('asked-'),
      },
    });
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });

  async function bring(node: string, machine: string, tpm: ForgedTpm): Promise<void> {
    await writeFile(join(folder, machine), JSON.stringify({ ek: tpm.ekDigest }));
    machines.set(node, machine);
  }
  async function attest(node: string, tpm: ForgedTpm, clusterToken?: Buffer): Promise<string> {
    const peer = await introduce(world, tpm, node, clusterToken === undefined ? {} : { clusterToken });
    peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel }));
    const { state } = await peer.verdict();
    await peer.close();
    return state;
  }
  const shown = async (node: string) => nodeView.parse(await world.call('GET', `/v1/nodes/${node}`));

  it('enrols the TPM that the cloud names, then that of the next machine of this name', async () => {
    const [old, next] = [forgedTpm(), forgedTpm()];
    await bring('cloud-1', 'i-1', old);
    assert.equal(await attest('cloud-1', old), 'trusted');
    assert.equal((await shown('cloud-1')).bound, 'cloud');
    await bring('cloud-1', 'i-2', next);
    assert.equal(await attest('cloud-1', next), 'trusted');
    assert.equal((await world.store.enrolment.node('cloud-1'))?.ekDigest, next.ekDigest);
    const actions = (await world.audit())
      .filter(({ subject }) => subject === 'cloud-1')
      .map(({ action }) => action);
    assert.deepEqual(
      actions.filter((action) => action.startsWith('enrol')),
      ['enrol', 'enrol.revoke', 'enrol'],
    );
    await assertRefused(world, 'cloud-1', 'enrolment_pending', () => introduce(world, old, 'cloud-1'));
  });

  it('hears no more of the old machine once the next one has its name, though its connection is open', async () => {
    const [old, next] = [forgedTpm(), forgedTpm()];
    await bring('cloud-2', 'i-3', old);
    const peer = await introduce(world, old, 'cloud-2');
    const challenge = await peer.challenge();
    await bring('cloud-2', 'i-4', next);
    const newer = await introduce(world, next, 'cloud-2');
    await newer.challenge();
    peer.send(old.evidence(challenge, { node: 'cloud-2', hello: peer.hello, channel: peer.channel }));
    assert.equal(await peer.refusal(), 'enrolment_pending');
    assert.equal((await world.status('cloud-2'))?.verdict, null);
    await newer.close();
  });

  it('enrols nobody of whom the cloud does not know', async () => {
    machines.set('cloud-3', 'i-9');
    await assertRefused(world, 'cloud-3', 'enrolment_pending', () =>
      introduce(world, forgedTpm(), 'cloud-3'),
    );
  });

  it('enrols a genuine TPM with a token of its node as vendor, and none with that of another', async () => {
    const token = `${'h'.repeat(40)}.${'c'.repeat(900)}.${'s'.repeat(340)}`;
    const frame = binaryFrame('clusterToken', Buffer.from(token));
    tokens.set(token, 'scaled-1');
    const tpm = forgedTpm();
    await assertRefused(world, 'scaled-2', 'token_rejected', () =>
      introduce(world, tpm, 'scaled-2', { clusterToken: frame }),
    );
    await assertRefused(world, 'scaled-1', 'enrolment_pending', () => introduce(world, tpm, 'scaled-1'));
    assert.equal(await attest('scaled-1', tpm, frame), 'trusted');
    assert.equal((await shown('scaled-1')).bound, 'vendor');
  });

  it('wants a token of the node at each connection, before anything else of the agent is looked at (row 13)', async () => {
    const tpm = forgedTpm();
    await world.pin('asked-1', tpm.ekDigest);
    const frame = (token: string) => binaryFrame('clusterToken', Buffer.from(token));
    tokens.set('of.this.node', 'asked-1');
    tokens.set('of.another.node', 'asked-2');
    const refusedWith = async (change: Parameters<typeof introduce>[3]) => {
      const peer = await introduce(world, tpm, 'asked-1', change);
      assert.equal(await peer.refusal(), 'token_rejected');
    };
    await assertRefused(world, 'asked-1', 'token_rejected', () => introduce(world, tpm, 'asked-1'));
    // No other role enrols by itself what an agent must show a token for.
    await assertRefused(world, 'asked-3', 'enrolment_pending', async () => {
      const peer = await introduce(world, forgedTpm(), 'asked-3', { hello: { role: 'gate' } });
      return { ...peer, refusal: () => peer.refusal(['gate']) };
    });
    // Nor does another role prove what an agent without a token may not.
    const other = await introduce(world, tpm, 'asked-1', { hello: { role: 'gate' } });
    const { hello, channel } = other;
    other.send(tpm.evidence(await other.challenge(), { node: 'asked-1', hello, channel }));
    assert.equal((await other.verdict()).state, 'pending');
    assert.equal((await world.status('asked-1'))?.state, 'pending');
    await other.close();
    assert.equal(await attest('asked-1', tpm, frame('of.this.node')), 'trusted');
    const before = await world.status('asked-1');
    await refusedWith({});
    await refusedWith({ clusterToken: frame('of.another.node') });
    await refusedWith({ clusterToken: frame('made.up.token') });
    assert.deepEqual(await world.status('asked-1'), before);
    // Keys that are nonsense are not looked at without it.
    await refusedWith({ hello: { ek: { publicArea: 'AAAA', certificate: null, chain: [] } } });
    assert.equal(await attest('asked-1', tpm, frame('of.this.node')), 'trusted');
  });

  it('counts the tokens of an enrolled node by itself, and all others by their address (row 13)', async () => {
    const tpm = forgedTpm();
    await world.pin('asked-7', tpm.ekDigest);
    tokens.set('of.asked.7', 'asked-7');
    const frame = binaryFrame('clusterToken', Buffer.from('of.asked.7'));
    const asked = async (own: ForgedTpm, hello: object = {}, from = '127.0.0.1') => {
      askers.length = 0;
      const peer = await introduce(world, own, 'asked-7', { clusterToken: frame, hello, from });
      await peer.peek();
      await peer.close();
      return askers;
    };
    assert.deepEqual(await asked(tpm), ['127.0.0.1']);
    assert.equal(await attest('asked-7', tpm, frame), 'trusted');
    assert.deepEqual(await asked(tpm), ['asked-7 at home']);
    // Attack: its public keys from elsewhere. Only a proof there, and no revoked name, moves where it is at home.
    assert.deepEqual(await asked(tpm, {}, '127.0.0.7'), ['asked-7 at 127.0.0.7']);
    assert.deepEqual(await asked(tpm), ['asked-7 at home']);
    await world.restart();
    assert.deepEqual(await asked(tpm), ['asked-7 at home']);
    // Attack: a stranger beside it, under its name, with all that is no secret but the keys.
    assert.deepEqual(await asked(forgedTpm()), ['127.0.0.1']);
    assert.deepEqual(await asked(tpm, { ak: forgedTpm().hello('asked-7').ak }), ['127.0.0.1']);
    assert.deepEqual(await asked(tpm, { ek: forgedTpm().hello('asked-7').ek }), ['127.0.0.1']);
  });

  it('lists no machine without a TPM on the word of a role that shows no token', async () => {
    const noTpm = { ek: null, ak: null, banks: [] };
    const all = async () => {
      const list = z.object({ items: z.array(z.object({ name: z.string() })) });
      const { items } = list.parse(await world.call('GET', '/v1/nodes'));
      return items.map(({ name }) => name);
    };
    const listed = async () => (await all()).filter((name) => name.startsWith('gpu-'));
    await (await introduce(world, forgedTpm(), 'gpu-9', { hello: { ...noTpm, role: 'gate' } })).receive();
    assert.deepEqual(await listed(), []);
    tokens.set('of.gpu.1', 'gpu-1');
    const clusterToken = binaryFrame('clusterToken', Buffer.from('of.gpu.1'));
    const peer = await introduce(world, forgedTpm(), 'gpu-1', { hello: noTpm, clusterToken });
    assert.equal(await peer.refusal(), 'unsupported_tpm');
    assert.deepEqual(await listed(), ['gpu-1']);
    // So it is where policy expects a TPM.
    await (await introduce(world, forgedTpm(), 'asked-8', { hello: { ...noTpm, role: 'gate' } })).receive();
    tokens.set('of.asked.9', 'asked-9');
    const its = binaryFrame('clusterToken', Buffer.from('of.asked.9'));
    await (await introduce(world, forgedTpm(), 'asked-9', { hello: noTpm, clusterToken: its })).refusal();
    assert.deepEqual(
      (await all()).filter((name) => /^asked-[89]$/.test(name)),
      ['asked-9'],
    );
  });

  it('takes the same policy again on reload; a server in no cluster takes it never', async () => {
    await world.server.reload();
    const flags = { stateDir: join(folder, 'state'), host: '127.0.0.1', policy: policyFile };
    const logger = pino({ level: 'silent' });
    await assert.rejects(startServer(serverConfig(null, {}, flags), { logger }), PolicyError);
  });
});
