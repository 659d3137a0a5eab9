import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { once } from 'node:events';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { bounds } from '../../../attest-server/channel/bounds.ts';
import { type AgentListener, listen } from '../../../attest-server/channel/listener.ts';
import type { ChannelPorts, Judgement } from '../../../attest-server/channel/ports.ts';
import type { Action } from '../../../attest-server/channel/session.ts';
import { openAdmissions } from '../../../attest-server/door/open.ts';
import { askedParts } from '../../../attest-server/policy/aspects.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import {
  binaryFrame,
  type Challenge,
  spokenWords,
  supplementFrame,
} from '../../../attest-server/wire/messages.ts';
import { type MadeAuthority, makeAuthority } from '../../agent/made-authority.ts';
import { dial, type Peer } from '../attacker.ts';
import { forgedTpm } from '../forged-tpm.ts';

const bootId = '6f9619ff-8b86-d011-b42d-00cf4fc964ff';
const tpm = forgedTpm();
const wantsMore: Judgement = { again: true };
const judged: Judgement = { state: 'trusted', codes: [], more: false, enough: [] };
const some = Buffer.from('some entries');

/** The channel alone: what is behind it does what the test says. */
describe("IMA's list in pieces, over a real connection", () => {
  let authority: MadeAuthority;
  let tls: { readonly key: string; readonly cert: string };
  let listener: AgentListener;
  let peers: Peer[] = [];
  /** What was handed on. */
  let answers: Extract<Action, { do: 'judge' }>[] = [];
  let refusals: string[] = [];
  let judgement: Judgement = judged;
  let from = 0;
  let now = 0;
  before(async () => {
    authority = await makeAuthority();
    tls = await authority.issue();
  });
  after(() => authority[Symbol.asyncDispose]());

  beforeEach(async () => {
    [peers, answers, refusals, judgement, from, now] = [[], [], [], judged, 0, 1_000_000];
    const ports: ChannelPorts<string> = {
      identify: async ({ node }) => ({ node, activation: null }),
      enrol: async (node) => node,
      proven: async () => {},
      ask: () => ({
        selection: {},
        holds: [],
        parts: askedParts,
        paths: [],
        supplements: { ima: { of: [], from, bootId } },
      }),
      waits: () => 0,
      async judge(_node, { answer }) {
        answers.push(answer);
        return judgement;
      },
      name: (node) => node,
      checkpoint: () => null,
      announce: () => ({ told: null, authorities: null }),
      trusts() {},
      gateOf: () => assert.fail('no gate is here'),
      gateOpened() {},
      async leaseReported() {},
      async keepHeader() {},
      refused: (code) => void refusals.push(code),
      gaveWay() {},
      failed: (error) => assert.fail(String(error)),
      nodeFailed() {},
      connections() {},
      // It stands still but for what a test does: what is put off does not come.
      now: () => now,
      wallClock: () => 0,
    };
    const admission = openAdmissions(
      { sources: { connections: 256, perSecond: 64, unprovenBytes: 32 * 1024 * 1024 }, helloWithin: 60_000 },
      { now: () => 0, turnedAway() {} },
    ).agents;
    const within = { answerWithin: 60_000, helloWithin: 60_000, activateWithin: 60_000, pingEvery: 60_000 };
    listener = await listen(
      {
        host: '127.0.0.1',
        port: 0,
        chain: tls.cert,
        key: tls.key,
        timings: { challengeEvery: 60_000, ...within },
        admission,
      },
      ports,
    );
  });
  afterEach(async () => {
    for (const { socket } of peers) socket.terminate();
    await listener.close();
  });

  async function connect(node = 'node-1', speaks: readonly string[] = spokenWords): Promise<Agent> {
    const peer = await dial({ ca: authority.ca, server: { agentPort: listener.port } });
    peers.push(peer);
    const hello = JSON.stringify({ ...tpm.hello(node), speaks });
    peer.send(hello);
    return { ...peer, node, hello };
  }

  /** Sends these pieces, and says that there is more. */
  function answer(agent: Agent, challenge: Challenge, pieces: readonly Buffer[], isMore = false): void {
    for (const bytes of pieces) agent.send(supplementFrame('ima', bytes));
    const ima = {
      from: challenge.supplements?.ima?.from ?? 0,
      more: isMore,
      pieces: pieces.map((bytes) => hash('sha256', bytes, 'hex')),
    };
    const occasion = { node: agent.node, hello: agent.hello, channel: agent.channel };
    agent.send({ ...tpm.evidenceOfParts(challenge, occasion, {}), supplements: { ima } });
  }

  /** The next challenge after an answer that is not the whole list. */
  async function behind(agent: Agent): Promise<Challenge> {
    judgement = wantsMore;
    answer(agent, await agent.challenge(), [some], true);
    return agent.challenge();
  }

  /** Whether something was said until now: an answer to a ping comes after it. */
  async function saysNothing(agent: Agent): Promise<void> {
    const pong = once(agent.socket, 'pong');
    agent.socket.ping();
    await pong;
    const first = await Promise.race([agent.peek(), null]);
    assert.equal(first, null);
  }

  it('are asked for in place of the part, of an agent that speaks of them', async () => {
    from = 110;
    const { parts, supplements } = await (await connect()).challenge();
    assert.deepEqual(supplements, { ima: { of: [], from: 110, bootId, most: limits.parts.ima } });
    assert.deepEqual(
      parts,
      askedParts.filter((name) => name !== 'ima'),
    );
    const before = await connect('node-2', ['parts', 'codes', 'files', 'paths']);
    const toBefore = await before.challenge();
    assert.deepEqual([toBefore.parts, toBefore.supplements], [askedParts, undefined]);
  });

  it('are handed on as they came, and the node is asked for the rest at once', async () => {
    const agent = await connect();
    const next = await behind(agent);
    assert.deepEqual(cameOf(answers[0]), { from: 0, more: true, pieces: [some] });
    judgement = judged;
    answer(agent, next, [some, some]);
    assert.equal((await agent.verdict()).state, 'trusted');
    assert.deepEqual(cameOf(answers[1]), { from: 0, more: false, pieces: [some, some] });
    assert.deepEqual(refusals, []);
  });

  it('are few before the proof, and then twice as many each time, up to all that an answer may bring', async () => {
    const agent = await connect();
    let next = await behind(agent);
    for (let most = 2 * limits.parts.ima; most < limits.ima.inAnswer; most *= 2) {
      assert.equal(mostOf(next), most);
      answer(agent, next, [some], true);
      next = await agent.challenge();
    }
    assert.equal(mostOf(next), limits.ima.inAnswer);
    const pieces = Array.from({ length: limits.ima.pieces }, (_, at) => Buffer.alloc(limits.ima.piece, at));
    judgement = judged;
    answer(agent, next, pieces);
    assert.equal((await agent.verdict()).state, 'trusted');
    assert.equal(cameOf(answers.at(-1))?.pieces.length, limits.ima.pieces);
    listener.challengeNow();
    assert.equal(mostOf(await agent.challenge()), limits.parts.ima);
  });

  it('are no more than before where the answer took a quarter of its time: the next one must not be late', async () => {
    const agent = await connect();
    const next = await behind(agent);
    now += next.within / 4 + 1;
    answer(agent, next, [some], true);
    assert.equal(mostOf(await agent.challenge()), 2 * limits.parts.ima);
  });

  it('are refused where they are more than an unproven node may send, and nothing of them is judged', async () => {
    const agent = await connect();
    answer(agent, await agent.challenge(), [Buffer.alloc(limits.parts.ima + 1)]);
    assert.equal(await agent.refusal(), 'too_large');
    assert.deepEqual([refusals, answers.length], [['too_large'], 0]);
  });

  for (const [what, code, speaks, attack] of [
    [
      'nobody asked for them',
      'malformed',
      ['parts', 'codes'],
      (agent: Agent) => agent.send(supplementFrame('ima', some)),
    ],
    [
      'they are others than the answer names',
      'malformed',
      spokenWords,
      (agent: Agent, challenge: Challenge) => {
        agent.send(supplementFrame('ima', Buffer.from('others')));
        answer(agent, challenge, [some]);
      },
    ],
    [
      'they come as those of another supplement, of which more may come',
      'malformed',
      spokenWords,
      (agent: Agent) => agent.send(supplementFrame('initrds', some)),
    ],
    [
      'they come under a name that nobody knows, or that is longer than all of them',
      'malformed',
      spokenWords,
      (agent: Agent) => agent.send(binaryFrame('supplement', Buffer.from([255, 105, 109, 97]))),
    ],
    [
      'the answer names what was not asked for',
      'malformed',
      spokenWords,
      (agent: Agent, challenge: Challenge) => {
        const occasion = { node: agent.node, hello: agent.hello, channel: agent.channel };
        const initrds = { from: 0, more: false, pieces: [] };
        agent.send({ ...tpm.evidenceOfParts(challenge, occasion, {}), supplements: { initrds } });
      },
    ],
    [
      'there is always more, and none of it comes',
      'malformed',
      spokenWords,
      (agent: Agent, challenge: Challenge) => answer(agent, challenge, [], true),
    ],
    [
      'they are a flood of small ones',
      'too_large',
      spokenWords,
      (agent: Agent) => {
        for (let count = 0; count < 1_000; count++)
          agent.send(supplementFrame('ima', Buffer.of(count % 256)));
      },
    ],
  ] as const)
    it(`end the connection where ${what} (row 373)`, async () => {
      const agent = await connect('node-1', speaks);
      attack(agent, await agent.challenge());
      assert.equal(await agent.refusal(), code);
      assert.deepEqual([refusals, answers], [[code], []]);
    });

  it('are long of so few nodes at a time that all of them fit into memory; whoever leaves gives room', async () => {
    const long: Agent[] = [];
    for (let count = 0; count < bounds.longAnswers; count++) {
      const agent = await connect(`long-${count}`);
      assert.equal(mostOf(await behind(agent)), 2 * limits.parts.ima);
      long.push(agent);
    }
    assert.equal(mostOf(await behind(await connect('one-more'))), limits.parts.ima);
    await long[0]?.close();
    await listenerKnows(long.length);
    assert.equal(mostOf(await behind(await connect('another'))), 2 * limits.parts.ima);
  });

  it('are all there at once of as many nodes as may be long, and none of them gives way', async () => {
    const fleet: { agent: Agent; challenge: Challenge }[] = [];
    for (let count = 0; count < bounds.longAnswers; count++) {
      const agent = await connect(`long-${count}`);
      let challenge = await behind(agent);
      while ((mostOf(challenge) ?? 0) < limits.ima.inAnswer) {
        answer(agent, challenge, [some], true);
        challenge = await agent.challenge();
      }
      fleet.push({ agent, challenge });
    }
    const piece = Buffer.alloc(limits.ima.piece);
    for (const { agent } of fleet)
      for (let each = 0; each < limits.ima.pieces; each++) agent.send(supplementFrame('ima', piece));
    const whole = bounds.longAnswers * limits.ima.inAnswer;
    while (listener.openAnswerBytes < whole) await new Promise(setImmediate);
    judgement = judged;
    for (const { agent, challenge } of fleet) {
      const pieces = Array.from({ length: limits.ima.pieces }, () => hash('sha256', piece, 'hex'));
      const occasion = { node: agent.node, hello: agent.hello, channel: agent.channel };
      const ima = { from: challenge.supplements?.ima?.from ?? 0, more: false, pieces };
      agent.send({ ...tpm.evidenceOfParts(challenge, occasion, {}), supplements: { ima } });
      await agent.verdict();
    }
    assert.deepEqual([refusals, listener.openAnswerBytes], [[], 0]);
  });

  it('are asked for again and again at once only a few times: one node must not keep the server busy (row 374)', async () => {
    const agent = await connect();
    judgement = wantsMore;
    for (let round = 0; round <= bounds.rounds.burst; round++)
      answer(agent, await agent.challenge(), [some], true);
    while (answers.length <= bounds.rounds.burst) await new Promise(setImmediate);
    await saysNothing(agent);
  });

  it('do not count as frames that nobody asked for', async () => {
    const agent = await connect();
    for (let round = 0; round < bounds.frames.burst; round++) {
      const challenge = await agent.challenge();
      answer(
        agent,
        challenge,
        Array.from({ length: limits.ima.pieces }, () => some),
      );
      await agent.verdict();
      listener.challengeNow();
    }
    assert.deepEqual(refusals, []);
  });

  /** The server heard that somebody left. */
  async function listenerKnows(proven: number): Promise<void> {
    while (listener.proven > proven) await new Promise(setImmediate);
  }
});

const mostOf = ({ supplements }: Challenge) => supplements?.ima?.most;
const cameOf = (answer: Extract<Action, { do: 'judge' }> | undefined) => answer?.supplements.ima?.came;

type Agent = Peer & { readonly node: string; readonly hello: string };
