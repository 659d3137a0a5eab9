import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { openTpm } from 'node-tpm2';
import { activationProof } from '../../attest-server/channel/session.ts';
import { checkAttestationKey } from '../../attest-server/verify/attestation-key.ts';
import { parseEventLog } from '../../attest-server/verify/tpm/event-log.ts';
import { verify } from '../../attest-server/verify/verify.ts';
import type { Hello, PcrBank } from '../../attest-server/wire/messages.ts';
import { type FixtureMachine, startMachine } from '../../swtpm-fixtures/machine.ts';
import { tamperEvent } from '../../swtpm-fixtures/tamper.ts';
import type { SoftwareTpm } from '../../swtpm-fixtures/tpm.ts';
import { makeAuthority } from '../agent/made-authority.ts';
import { startTinyServer } from '../agent/tiny-server.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { assertRefused, dial, type Peer } from './attacker.ts';
import { forgedTpm } from './forged-tpm.ts';
import { agentsOf, startAgent, vouchFor } from './real-agent.ts';
import { startTestServer, type TestServer } from './running-server.ts';
import { partOf } from './verify/made-by-hand.ts';
import { makeSigningKey, type ToolTpm, toolTpm } from './verify/tool-tpm.ts';

const log = recordedLog('debian13-shim-grub');
const every = Array.from({ length: 24 }, (_, pcr) => pcr);

describe('attacks with a TPM of their own', () => {
  let world: TestServer;
  let tools: ToolTpm;
  let machine: FixtureMachine;
  before(async () => {
    [world, tools, machine] = await Promise.all([startTestServer(), toolTpm(), startMachine({ log })]);
    await tools.tool('tpm2_createek', '-Q', '-G', 'rsa', '-c', '@ek.ctx', '-u', '@ek.pub');
  });
  after(async () => {
    await machine?.dispose();
    await tools?.[Symbol.asyncDispose]();
    await world?.[Symbol.asyncDispose]();
  });

  async function helloOf(
    node: string,
    akArea: Buffer,
    certificate: Buffer | null,
    area: Buffer | null = null,
  ): Promise<Hello> {
    const ek = area ?? (await tools.read('ek.pub')).subarray(2);
    return {
      ...forgedTpm().hello(node),
      ek: {
        publicArea: ek.toString('base64'),
        certificate: certificate?.toString('base64') ?? null,
        chain: [],
      },
      ak: { publicArea: akArea.toString('base64'), name: checkAttestationKey(akArea).name },
    };
  }

  it('refuses the endorsement certificate of another TPM (row 6)', async () => {
    await using stranger = await toolTpm();
    const ak = (await makeSigningKey(tools, 'ak6', 'e')).subarray(2);
    await assertRefused(world, 'node-6', 'ek_cert_key_mismatch', async () => {
      const peer = await dial(world);
      peer.send(await helloOf('node-6', ak, stranger.tpm.ekCertificates.rsa));
      return peer;
    });
    await world.pin('node-6', hash('sha256', (await tools.read('ek.pub')).subarray(2), 'hex'));
    const honest = await dial(world);
    honest.send(await helloOf('node-6', ak, tools.tpm.ekCertificates.rsa));
    assert.equal((await honest.receive())?.type, 'activate');
    await honest.close();
  });

  it('takes one TPM for one node: another form of its public area is none (rows 116, 118)', async () => {
    const area = (await tools.read('ek.pub')).subarray(2);
    const ak = (await makeSigningKey(tools, 'ak116', 'e')).subarray(2);
    const altered = (offset: number, ...bytes: number[]) => {
      const copy = Buffer.from(area);
      copy.set(bytes, offset);
      return copy;
    };
    // TPMT_PUBLIC of the low range: attributes at 4, policy at 10, exponent at 52.
    const forms: Readonly<Record<string, Buffer>> = {
      'exponent 65537': altered(52, 0x00, 0x01, 0x00, 0x01),
      noDA: altered(4, 0x00, 0x03, 0x04, 0xb2),
      'a reserved bit': altered(4, 0x80, 0x03, 0x00, 0xb2),
      'another policy': altered(10, 0xff),
      'no policy': Buffer.concat([area.subarray(0, 8), Buffer.of(0, 0), area.subarray(42)]),
      userWithAuth: altered(4, 0x00, 0x03, 0x00, 0xf2),
    };
    let each = 0;
    for (const [what, form] of Object.entries(forms)) {
      const node = `node-116-${++each}`;
      await world.pin(node, hash('sha256', form, 'hex'));
      const attack = async () => {
        const hello = JSON.stringify(await helloOf(node, ak, null, form));
        const peer = await dial(world);
        peer.send(hello);
        if ((await peer.peek())?.type === 'activate') {
          await activate(peer, 'ak116', hello);
          await peer.challenge();
          assert.fail(`enrolled as ${node} with ${what}`);
        }
        return peer;
      };
      await assertRefused(world, node, 'malformed', attack);
      assert.equal(await world.store.enrolment.node(node), null, what);
    }
  });

  it('activates a key of the owner hierarchy by its name, and refuses its quotes (row 97)', async () => {
    await world.pin('node-97', hash('sha256', (await tools.read('ek.pub')).subarray(2), 'hex'));
    const ak = (await makeSigningKey(tools, 'owner', 'o')).subarray(2);
    const hello = JSON.stringify(await helloOf('node-97', ak, null));
    const peer = await dial(world);
    peer.send(hello);
    await activate(peer, 'owner', hello);
    const challenge = await peer.challenge();
    assert.equal((await world.store.enrolment.node('node-97'))?.akName, checkAttestationKey(ak).name);
    await assertRefused(world, 'node-97', 'ak_hierarchy', async () => {
      const answer = forgedTpm();
      const occasion = { node: 'node-97', hello, channel: peer.channel };
      let signed: Buffer = Buffer.alloc(0);
      answer.evidence(challenge, occasion, {
        quote: (data) => {
          signed = data;
          return { attest: data, signature: data, pcrs: {} };
        },
      });
      const quote = await quoteOf('owner', signed);
      peer.send(answer.evidence(challenge, occasion, { quote: () => quote }));
      return peer;
    });
    assert.equal((await world.status('node-97'))?.verdict, null);
  });

  it('refuses what a relay between an honest agent and the server forwards (row 9)', async () => {
    await using authority = await makeAuthority();
    const folder = await mkdtemp(join(tmpdir(), 'assay-relay-'));
    const caFile = join(folder, 'ca.pem');
    await writeFile(caFile, authority.ca);
    try {
      await vouchFor(world, machine, 'node-9');
      const { key, cert } = await authority.issue();
      let relayed: (peer: Peer) => void = () => {};
      const relay = new Promise<Peer>((resolve) => {
        relayed = resolve;
      });
      await using between = await startTinyServer({ key, cert: cert + authority.ca }, async (socket) => {
        const early: [Buffer, boolean][] = [];
        socket.on('message', (data: Buffer, isBinary) => early.push([data, isBinary]));
        const peer = await dial(world);
        relayed(peer);
        for (const [data, isBinary] of early) peer.socket.send(data, { binary: isBinary });
        socket.on('message', (data: Buffer, isBinary) => peer.socket.send(data, { binary: isBinary }));
        peer.socket.on('message', (data: Buffer) => socket.send(String(data)));
      });
      await assertRefused(world, 'node-9', 'channel_binding', async () => {
        await using agent = await startAgent(machine, 'node-9', { port: between.port, caFile });
        await world.until(() =>
          agent.states.some((each) => each.phase === 'sent' && each.what === 'evidence'),
        );
        return relay;
      });
      assert.equal((await world.status('node-9'))?.state, 'trusted');
      // The same agent, without the relay.
      await using _direct = await startAgent(machine, 'node-9', agentsOf(world));
      const before = world.verdicts.length;
      await world.until(() => world.verdicts.length > before, 10_000);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('shows a bank that the firmware never extended (row 22)', async () => {
    assert.deepEqual(await problemsOf(tools.tpm, log, ['sha256']), ['bank_unextended']);
  });

  it('shows banks that disagree about one log (row 23)', async () => {
    assert.deepEqual(await problemsOf(machine.tpm, log, ['sha256', 'sha384']), []);
    const { index } =
      parseEventLog(log).events.find(({ pcr, stage }) => pcr === 4 && stage === 'kernel') ?? {};
    const other = tamperEvent(log, index ?? -1, { digest: { sha384: '5a'.repeat(48) } });
    const codes = await problemsOf(machine.tpm, other, ['sha256', 'sha384']);
    assert.deepEqual(codes, ['bank_mismatch', 'log_replay_mismatch']);
  });

  /** The codes of what a quote of this TPM shows about this log. */
  async function problemsOf({ tcti }: SoftwareTpm, bytes: Buffer, banks: readonly PcrBank[]) {
    await using tpm = await openTpm({ tcti });
    const ak = checkAttestationKey((await tpm.createAttestationKey()).publicArea);
    const selection = Object.fromEntries(banks.map((bank) => [bank, every]));
    const quote = await tpm.quote({ qualifyingData: Buffer.alloc(32, 5), selection });
    const { boot } = verify(
      { quotes: [quote], facts: null, parts: { boot: partOf(bytes) } },
      {
        ak,
        ekDigest: null,
        judgeHierarchy: true,
        selection,
        binding: { qualifyingData: '05'.repeat(32) },
      },
    );
    return [...new Set(boot?.problems.map(({ code }) => code))];
  }

  async function activate(peer: Peer, key: string, hello: string): Promise<void> {
    const message = await peer.receive();
    assert.equal(message?.type, 'activate');
    const parts = [
      Buffer.from(String(message?.credential), 'base64'),
      Buffer.from(String(message?.secret), 'base64'),
    ];
    await tools.write('blob', Buffer.concat([Buffer.from('badcc0de00000001', 'hex'), ...parts]));
    await tools.sessionTool('tpm2_startauthsession', '--policy-session', '-S', '@s');
    await tools.sessionTool('tpm2_policysecret', '-Q', '-S', '@s', '-c', 'e');
    const keys = ['-c', `@${key}.ctx`, '-C', '@ek.ctx', '-P', 'session:@s'];
    await tools.sessionTool('tpm2_activatecredential', '-Q', ...keys, '-i', '@blob', '-o', '@secret');
    await tools.sessionTool('tpm2_flushcontext', '@s');
    await tools.tool('tpm2_getcap', 'handles-transient');
    const proof = activationProof(await tools.read('secret'), peer.channel, hash('sha256', hello, 'hex'));
    peer.send({ type: 'activated', proof: proof.toString('hex') });
  }

  async function quoteOf(key: string, signed: Buffer) {
    const files = ['-m', '@msg', '-s', '@sig', '-o', '@pcrs', '-F', 'values'];
    const what = ['-c', `@${key}.ctx`, '-l', `sha256:${every.join(',')}`, '-q', signed.toString('hex')];
    await tools.tool('tpm2_quote', '-Q', ...what, ...files);
    return {
      attest: await tools.read('msg'),
      signature: await tools.read('sig'),
      pcrs: { sha256: await tools.read('pcrs') },
    };
  }
});
