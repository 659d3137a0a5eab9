import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'mocha';
import { z } from 'zod';
import { inCodesOf } from '../../../attest-server/channel/first-codes.ts';
import { openChannel } from '../../../attest-server/channel/open.ts';
import type { ChannelPorts } from '../../../attest-server/channel/ports.ts';
import type { Introduction, ServerMessage } from '../../../attest-server/protocol/messages.ts';
import type { ReasonCode } from '../../../attest-server/protocol/reasons.ts';
import { Rejection } from '../../../attest-server/protocol/rejection.ts';
import { type MadeAuthority, makeAuthority } from '../../agent/made-authority.ts';
import { dial } from '../attacker.ts';
import { quietDoor } from '../door/quiet-door.ts';
import { forgedTpm } from '../forged-tpm.ts';

/** Stands for any code of a later version, of which this one has none yet. */
const ofLater = 'code_of_later' as ReasonCode;

/** What the agent of 0.1.0 takes, as it was recorded. */
const recorded = z
  .object({
    fromServer: z.object({ oneOf: z.array(z.object({ properties: z.record(z.string(), z.json()) })) }),
  })
  .parse(
    JSON.parse(
      readFileSync(
        new URL('../../../swtpm-fixtures/conversations/0.1.0/accepted.json', import.meta.url),
        'utf8',
      ),
    ),
  );

/** The codes that a message of this type may have there. */
function codesOf(type: 'verdict' | 'error'): readonly string[] {
  const shape = z.object({ const: z.literal(type) });
  const message = recorded.fromServer.oneOf.find(
    ({ properties }) => shape.safeParse(properties.type).success,
  );
  const list = z.object({ enum: z.array(z.string()) });
  return type === 'error'
    ? list.parse(message?.properties.code).enum
    : z.object({ items: list }).parse(message?.properties.codes).items.enum;
}

const speaking = (...speaks: Introduction['speaks']): Introduction => {
  const { ek: _ek, ak: _ak, joinToken: _token, ...introduction } = forgedTpm().hello('node-1');
  return { ...introduction, speaks };
};

describe('reason codes, to an agent that does not speak `codes`', () => {
  const agents = [null, speaking(), speaking('parts')];

  it('are all those of 0.1.0', () => {
    const codes = codesOf('verdict');
    assert(codes.length > 90);
    const verdict: ServerMessage = { type: 'verdict', state: 'untrusted', codes: [...codes] };
    for (const agent of agents) assert.equal(inCodesOf(agent, verdict), verdict);
    for (const code of codesOf('error'))
      assert.deepEqual(inCodesOf(null, { type: 'error', code }), { type: 'error', code });
  });

  it('are left out of a verdict where they are of later, and are `malformed` in a refusal', () => {
    const codes = ['kernel_unknown', ofLater, 'latched'];
    for (const agent of agents) {
      const checkpoint = 'x';
      assert.deepEqual(inCodesOf(agent, { type: 'verdict', state: 'untrusted', codes, checkpoint }), {
        type: 'verdict',
        state: 'untrusted',
        codes: ['kernel_unknown', 'latched'],
        checkpoint,
      });
      const refusal: ServerMessage = { type: 'error', code: ofLater };
      assert.deepEqual(inCodesOf(agent, refusal), { type: 'error', code: 'malformed' });
    }
  });

  it('are whatever the server has to one that does', () => {
    const messages: readonly ServerMessage[] = [
      { type: 'verdict', state: 'untrusted', codes: [ofLater] },
      { type: 'error', code: ofLater },
    ];
    for (const message of messages) assert.equal(inCodesOf(speaking('codes'), message), message);
  });
});

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
    };
    channel = await openChannel(config, { chain: cert, key }, quietDoor(), ports);
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
    refused() {},
    gaveWay() {},
    failed: assert.ifError,
    nodeFailed() {},
    connections() {},
    now: () => performance.now(),
    wallClock: () => Date.now(),
  };

  async function hello(node: string, speaks: readonly string[]) {
    const peer = await dial({ ca: authority.ca, server: { agentPort: channel.port } });
    const text = JSON.stringify({ ...tpm.hello(node), speaks });
    peer.send(text);
    return { peer, text };
  }

  for (const [speaks, codes, code] of [
    [[], ['kernel_unknown'], 'malformed'],
    [['codes'], [ofLater, 'kernel_unknown'], ofLater],
  ] as const)
    it(`says them to an agent that speaks ${speaks.join() || 'nothing'} as that agent takes them`, async () => {
      const { peer, text } = await hello('node-1', speaks);
      const occasion = { node: 'node-1', hello: text, channel: peer.channel };
      peer.send(tpm.evidence(await peer.challenge(), occasion));
      assert.deepEqual((await peer.verdict()).codes, codes);
      await peer.close();
      const refused = await hello('refused', speaks);
      assert.equal(await refused.peer.refusal(), code);
    });
});
