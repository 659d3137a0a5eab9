import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { openChannel } from '../../../attest-server/channel/open.ts';
import type { ChannelPorts } from '../../../attest-server/channel/ports.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';
import { type MadeAuthority, makeAuthority } from '../../agent/made-authority.ts';
import { dial } from '../attacker.ts';
import { quietAdmission } from '../door/quiet-admission.ts';
import { forgedTpm } from '../forged-tpm.ts';

/** Stands for any code of a later version, of which this one has none yet. */
const ofLater = 'code_of_later' as ReasonCode;

describe('a channel whose verdicts and refusals have a code of later', () => {
  let authority: MadeAuthority;
  let channel: Awaited<ReturnType<typeof openChannel>>;
  const tpm = forgedTpm();
  before(async () => {
    authority = await makeAuthority();
    const { key, cert } = await authority.issue();
    const config = {
      host: '127.0.0.1',
      agentPort: 0,
      challengeEvery: 300_000,
      answerWithin: 30_000,
      helloWithin: 10_000,
      pingEvery: 30_000,
    };
    channel = await openChannel(config, { chain: cert, key }, quietAdmission(), ports);
  });
  after(async () => {
    await channel?.[Symbol.asyncDispose]();
    await authority?.[Symbol.asyncDispose]();
  });

  const ports: ChannelPorts<string> = {
    async identify({ node }) {
      if (node === 'refused') throw new Rejection(ofLater, 'refused by a server of later');
      return { node, activation: null };
    },
    enrol: async (node) => node,
    async proven() {},
    ask: () => ({ selection: { sha256: [0] }, holds: [], parts: [], paths: [], supplements: {} }),
    waits: () => 0,
    judge: async () => ({ state: 'untrusted', codes: [ofLater, 'kernel_unknown'], more: false, enough: [] }),
    name: (node) => node,
    checkpoint: () => null,
    announce: () => ({ told: null, authorities: null }),
    trusts() {},
    gateOf: () => ({ mode: 'enforce', proven: false, codes: [], timeout: null, onTimeout: 'hold' }),
    gateOpened() {},
    async leaseReported() {},
    async keepHeader() {},
    refused() {},
    gaveWay() {},
    failed: assert.ifError,
    nodeFailed() {},
    connections() {},
    now: () => performance.now(),
    wallClock: () => Date.now(),
  };

  async function hello(node: string) {
    const peer = await dial({ ca: authority.ca, server: { agentPort: channel.port } });
    const text = JSON.stringify(tpm.hello(node));
    peer.send(text);
    return { peer, text };
  }

  it('says them as they are: an agent takes codes that it does not know', async () => {
    const { peer, text } = await hello('node-1');
    const occasion = { node: 'node-1', hello: text, channel: peer.channel };
    peer.send(tpm.evidence(await peer.challenge(), occasion));
    assert.deepEqual((await peer.verdict()).codes, [ofLater, 'kernel_unknown']);
    await peer.close();
    const refused = await hello('refused');
    assert.equal(await refused.peer.refusal(), ofLater);
  });
});
