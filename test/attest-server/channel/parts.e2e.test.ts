import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'mocha';
import { verifyBundle } from '../../../attest-server/cli/offline/verify/verify.ts';
import { askedParts } from '../../../attest-server/policy/aspects.ts';
import type { PartName } from '../../../attest-server/wire/evidence.ts';
import { keyRequestOf } from '../../../attest-server/wire/key-request.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import { binaryFrame, type Challenge } from '../../../attest-server/wire/messages.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { assertRefused, enrolledNode, introduce, type Peer } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { partWith } from '../policy/firewall/made-firewall.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';
import { madeKeyRequest } from '../wire/made-keys.ts';

const folder = new URL('../../../swtpm-fixtures/recorded/debian13-uki-systemd/', import.meta.url);
const bootLog = recordedLog('debian13-uki-systemd');
const records = readFileSync(new URL('tpm2-measure.log', folder));
const held: Readonly<Record<string, Readonly<Record<string, string>>>> = JSON.parse(
  readFileSync(new URL('pcrs.json', folder), 'utf8'),
);
const values = Buffer.from(Array.from({ length: 24 }, (_, pcr) => held.sha256?.[pcr] ?? '').join(''), 'hex');
const digestOf = (bytes: Buffer) => hash('sha256', bytes, 'hex');
const node = 'node-1';

type Agent = Peer & { readonly hello: string };
/** With a word that this server does not know, and a member of a later version. */
const later = { speaks: ['of.later', 'codes', 'parts'], later: true };

describe('parts of evidence, over a real connection', () => {
  let world: TestServer;
  let peer: Agent;
  const tpm: ForgedTpm = forgedTpm();
  before(async () => {
    world = await startTestServer({ challengeEvery: 0.02 });
    await world.pin(node, tpm.ekDigest);
    peer = await introduce(world, tpm, node, { hello: later });
  });
  after(() => world?.[Symbol.asyncDispose]());

  const quote = (data: Buffer) => madeQuote(tpm.ak, data, { pcrs: { sha256: values } });
  const evidence = (agent: Agent, challenge: Challenge, parts: Partial<Record<PartName, Buffer>>) =>
    tpm.evidenceOfParts(
      challenge,
      { node, hello: agent.hello, channel: agent.channel, bootLog },
      parts,
      quote,
    );

  /** Answers with both logs; sends those frames that are said, and gives what the server held. */
  async function answer(...sent: readonly Buffer[]): Promise<readonly string[]> {
    const challenge = await peer.challenge();
    assert.deepEqual(challenge.parts, askedParts);
    for (const bytes of sent) peer.send(binaryFrame('part', bytes));
    peer.send(evidence(peer, challenge, { userSpace: records }));
    return challenge.holds;
  }

  it('come once, in frames of their own; then the server holds them, and asks for their digests only', async () => {
    assert.deepEqual(await answer(bootLog, records), []);
    assert.equal((await peer.verdict()).state, 'pending');
    await world.call('POST', '/v1/references', { node, name: 'good' });
    for (let round = 0; round < 2; round++) {
      assert.deepEqual(await answer(), [digestOf(bootLog), digestOf(records)]);
      assert.equal((await peer.verdict()).state, 'trusted');
    }
    const bundle = JSON.stringify(await world.call('GET', `/v1/nodes/${node}/bundle`));
    const { verdict, rejected } = verifyBundle(bundle, { now: 0 });
    assert.deepEqual([verdict.state, rejected], ['trusted', false]);
  });

  it('are held over a restart', async () => {
    await peer.close();
    await world.restart();
    peer = await introduce(world, tpm, node, { hello: later });
    assert.deepEqual(await answer(), [digestOf(bootLog), digestOf(records)]);
    assert.equal((await peer.verdict()).state, 'trusted');
  });

  const refused = (code: 'malformed' | 'too_large', attack: (agent: Agent, asked: Challenge) => void) =>
    assertRefused(world, node, code, async () => {
      const agent = await introduce(world, tpm, node, { hello: later });
      attack(agent, await agent.challenge());
      return agent;
    });

  it('are refused where nobody has them, or nobody asked for them', async () => {
    const files = Buffer.from('a list of files');
    // The one part that is asked for by the digests of files alone.
    assert.ok(!askedParts.includes('loaderFiles'));
    await peer.close();
    await refused('malformed', (agent, asked) =>
      agent.send(evidence(agent, asked, { userSpace: Buffer.from('unheard of') })),
    );
    // The audit log holds one refusal of a kind and node in ten seconds.
    const other = { ...(await world.status(node)) };
    const agent = await introduce(world, tpm, node, { hello: later });
    const asked = await agent.challenge();
    agent.send(binaryFrame('part', files));
    agent.send(evidence(agent, asked, { loaderFiles: files }));
    assert.equal(await agent.refusal(), 'malformed');
    assert.equal((await world.status(node))?.verifiedAt, other.verifiedAt);
  });

  it('are refused where one is longer than such a part may be', () =>
    refused('too_large', (agent, asked) => {
      const long = Buffer.alloc(limits.parts.userSpace + 1);
      agent.send(binaryFrame('part', long));
      agent.send(evidence(agent, asked, { userSpace: long }));
    }));

  it('may all come with the first answer, each as large as it may be, and too many rules are not read (row 160)', async () => {
    await peer.close();
    const large = Buffer.concat([bootLog, Buffer.alloc(limits.parts.boot - bootLog.length)]);
    const rules = Array.from({ length: 100_000 }, () => '-A INPUT -j LOG').join('\n');
    const ip = `*filter\n:INPUT DROP [0:0]\n${rules}\nCOMMIT\n`;
    const text = JSON.stringify(partWith({ iptables: { ip, ip6: null } }));
    const firewall = Buffer.from(text.padEnd(limits.parts.firewall));
    peer = await introduce(world, tpm, node, { hello: later });
    const challenge = await peer.challenge();
    const others = [
      records,
      firewall,
      Buffer.alloc(limits.parts.disk, 'y'),
      Buffer.alloc(limits.parts.ima, 'z'),
    ];
    for (const bytes of [large, ...others]) peer.send(binaryFrame('part', bytes));
    const parts = { userSpace: records, firewall, disk: others[2]!, ima: others[3]! };
    const at = { node, hello: peer.hello, channel: peer.channel, bootLog: large };
    peer.send(tpm.evidenceOfParts(challenge, at, parts, quote));
    // The policy asks for the boot alone.
    const { state, codes } = await peer.verdict();
    assert.deepEqual([state, codes.filter((code) => code.startsWith('fw_'))], ['trusted', ['fw_unreadable']]);
    await peer.close();
  });
});

describe('connections of one node in two roles', () => {
  const role = { role: 'gate' } as const;

  it('stand beside each other, and a newer one takes the place of an older one in its own role only', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const tpm = forgedTpm();
    await world.pin(node, tpm.ekDigest);
    const prove = async (hello: object) => {
      const peer = await introduce(world, tpm, node, { hello });
      peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel }));
      assert.equal((await peer.verdict()).state, 'role' in hello ? 'pending' : 'trusted');
      return peer;
    };
    const agent = await prove({});
    const [first, second] = [await prove(role), await prove(role)];
    assert.equal(await first.receive(), null);
    assert.equal(agent.socket.readyState, agent.socket.OPEN);
    assert.equal(await world.metric('assay_agents{version="0.0.0"}'), 1);
    const other = await prove({});
    assert.equal(await agent.receive(), null);
    assert.equal(second.socket.readyState, second.socket.OPEN);
    await second.close();
    assert.equal(await world.metric('assay_agents{version="0.0.0"}'), 1);
    await other.close();
    await world.until(async () => (await world.metric('assay_agents{version="0.0.0"}')) === 0);
  });

  it('may not say what is not for their role', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const tpm = forgedTpm();
    await world.pin(node, tpm.ekDigest);
    const agent = await introduce(world, tpm, node);
    agent.send(tpm.evidence(await agent.challenge(), { node, hello: agent.hello, channel: agent.channel }));
    await agent.verdict();
    await assertRefused(world, node, 'role_denied', async () => {
      const peer = await introduce(world, tpm, node, { hello: role });
      await peer.challenge();
      peer.send({ type: 'changed', what: 'x' });
      return peer;
    });
  });

  it('get no key of a server that holds none, though whoever unlocks disks may ask', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const tpm = forgedTpm();
    await world.pin(node, tpm.ekDigest);
    const peer = await introduce(world, tpm, node, { hello: { role: 'unlock' } });
    const challenge = await peer.challenge();
    assert.equal(challenge.purpose, 'unlock');
    const keyRequest = keyRequestOf(madeKeyRequest());
    peer.send(tpm.evidence(challenge, { node, hello: peer.hello, channel: peer.channel, keyRequest }));
    const { state, keyRefusal } = await peer.verdict();
    assert.deepEqual([state, keyRefusal], ['pending', 'key_withheld']);
    await peer.close();
  });

  it('get no key by a request that another quote signs (row 59)', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const tpm = forgedTpm();
    await enrolledNode(world, tpm, node);
    await assertRefused(world, node, 'nonce_invalid', async () => {
      const peer = await introduce(world, tpm, node, { hello: { role: 'unlock' } });
      const occasion = { node, hello: peer.hello, channel: peer.channel };
      const keyRequest = keyRequestOf(madeKeyRequest()).toString('base64');
      peer.send(tpm.evidence(await peer.challenge(), occasion, { message: { keyRequest } }));
      return peer;
    });
  });
});
