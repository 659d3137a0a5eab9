import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { ofImageLoads, padded } from '../../attacks/hostile-logs.ts';
import { introduce, type Peer } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { honestAgent } from '../honest-agent.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';

/** A log of so many images that the firmware started, and the PCRs that it leads to: whoever is root extends PCR 4 as he likes. */
const logOfImages = (count: number, seed: string) => {
  const log = ofImageLoads(seed, count);
  return { log, sha256: replayedValues(log, 'sha256') };
};

const images = logOfImages(16_000, 'made');
/** Another log, which leads to the same PCRs. */
const longer = (seed: string) => ({ ...images, log: padded(images.log, 600_000, seed) });
const few = logOfImages(10, 'few');
const refused = 'assay_refusals_total{code="too_large"}';
const over = 'assay_nodes_over_judging_share';

describe('what judging a node may cost', () => {
  let world: TestServer;
  before(async () => {
    world = await startTestServer({ policy: 'observe' });
  });
  after(() => world?.[Symbol.asyncDispose]());

  async function enrolled(node: string): Promise<ForgedTpm> {
    const tpm = forgedTpm();
    await world.pin(node, tpm.ekDigest);
    return tpm;
  }

  /** Answers as a node that measured something else meanwhile, over the log; gives the verdict. */
  async function answer(peer: Peer & { readonly hello: string }, tpm: ForgedTpm, node: string, log = images) {
    const challenge = await peer.challenge();
    if (!challenge.holds.includes(hash('sha256', log.log, 'hex'))) peer.send(binaryFrame('part', log.log));
    const sha256 = Buffer.from(log.sha256);
    randomBytes(32).copy(sha256, 32 * 12);
    const occasion = { node, hello: peer.hello, channel: peer.channel, bootLog: log.log };
    const quote = (signed: Buffer) => madeQuote(tpm.ak, signed, { pcrs: { sha256 } });
    peer.send(tpm.evidence(challenge, occasion, { quote }));
    return (await peer.verdict()).state;
  }

  it('follows the node over connections and addresses: it is asked later, and the others are judged (row 360)', async () => {
    const [tpm, honest] = [await enrolled('owned'), await enrolled('honest')];
    const before = await world.metric(refused);
    // Each time from another address; the last answers already wait for their challenges.
    for (let from = 1; (await world.metric(over)) === 0; from++) {
      const peer = await introduce(world, tpm, 'owned', { from: `127.0.12.${from}` });
      for (let judged = 0; judged < 4; judged++) {
        await answer(peer, tpm, 'owned', few);
        peer.send({ type: 'changed', what: 'all' });
      }
      await peer.close();
    }
    const peer = await introduce(world, tpm, 'owned', { from: '127.0.13.1' });
    const agent = await honestAgent(world, honest, 'honest');
    await world.until(() => agent.states.length > 0);
    assert.deepEqual(agent.states, ['trusted']);
    await agent.peer.close();
    // It is not locked out: its turn comes, and it is told while it waits for the next one.
    await answer(peer, tpm, 'owned', few);
    for (let more = 0; more < 2; more++) peer.send({ type: 'changed', what: 'all' });
    await world.until(async () => (await world.metric(refused)) > before);
    const told = await world.until(async () =>
      (await world.audit()).find(({ code, subject }) => code === 'too_large' && subject === 'owned'),
    );
    assert.match(JSON.stringify(told.detail), /share of the server/);
    const view = JSON.stringify(await world.call('GET', '/v1/nodes/owned'));
    assert.match(view, /asked again in \d+ s/);
    assert.match(view, /journalctl -u assay-agent/);
    await peer.close();
  }).timeout(60_000);

  it('is not spent by who has copied its public keys, or passes on its answers (row 361)', async () => {
    const tpm = await enrolled('copied');
    const foreign = forgedTpm();
    const first = await honestAgent(world, tpm, 'copied');
    await world.until(() => first.states.length > 0);
    for (let round = 0; round < 80; round++) {
      const peer = await introduce(world, tpm, 'copied', { from: `127.0.14.${1 + round}` });
      const challenge = await peer.challenge();
      const occasion = { node: 'copied', hello: peer.hello, channel: peer.channel };
      // Half of them are signed by another key, half by the right one for another connection.
      if (round % 2 === 0) peer.send(foreign.evidence(challenge, occasion));
      else peer.send(tpm.evidence(challenge, { ...occasion, channel: randomBytes(32) }));
      assert.match(await peer.refusal(), /^(?:sig_invalid|ak_mismatch|channel_binding|nonce_invalid)$/);
    }
    assert.doesNotMatch(JSON.stringify(await world.call('GET', '/v1/nodes/copied')), /asked again in/);
    const agent = await honestAgent(world, tpm, 'copied');
    await world.until(() => agent.states.length > 0);
    assert.deepEqual(agent.states, ['trusted']);
    await Promise.all([first.peer.close(), agent.peer.close()]);
  }).timeout(60_000);

  it('leaves an agent its verdict that connects anew ten times in a minute (row 365)', async () => {
    const tpm = await enrolled('flapping');
    for (let round = 0; round < 10; round++) {
      const agent = await honestAgent(world, tpm, 'flapping');
      await world.until(() => agent.states.length > 0);
      assert.deepEqual(agent.states, ['trusted']);
      await agent.peer.close();
    }
  });

  it('lets a first log of 16,000 events be judged while others hold all turns (row 362)', async () => {
    const owned = await Promise.all(
      Array.from({ length: 4 }, async (_, index) => {
        const [name, tpm] = [`heavy-${index}`, await enrolled(`heavy-${index}`)];
        const peer = await introduce(world, tpm, name, { from: `127.0.15.${1 + index}` });
        await answer(peer, tpm, name);
        return { name, tpm, peer };
      }),
    );
    let isOver = false;
    const attacks = owned.map(async ({ name, tpm, peer }) => {
      while (!isOver) {
        peer.send({ type: 'changed', what: 'all' });
        await answer(peer, tpm, name).catch(() => {
          isOver = true;
        });
      }
    });
    const tpm = await enrolled('long-log');
    const agent = await introduce(world, tpm, 'long-log');
    assert.equal(await answer(agent, tpm, 'long-log', logOfImages(16_000, 'other')), 'trusted');
    isOver = true;
    await Promise.all([agent, ...owned.map(({ peer }) => peer)].map((peer) => peer.close()));
    await Promise.all(attacks);
  }).timeout(60_000);

  it('bounds what waits to be judged in all, and one that cost little goes on (row 400)', async () => {
    const owned = await Promise.all(
      Array.from({ length: 8 }, async (_, index) => {
        const [name, from] = [`many-${index}`, `127.0.16.${1 + index}`];
        const tpm = await enrolled(name);
        const first = await introduce(world, tpm, name, { from });
        await answer(first, tpm, name, few);
        const peers = await Promise.all([1, 2].map(() => introduce(world, tpm, name, { from })));
        return {
          name,
          tpm,
          peers,
          logs: [1, 2].map((which) => longer(`${name} ${which}`)),
        };
      }),
    );
    const outcomes = [0, 1].flatMap((which) =>
      owned.map(({ name, tpm, peers, logs }) =>
        answer(peers[which]!, tpm, name, logs[which]).catch(
          ({ message }: Error) => /refused with (\w+)/.exec(message)?.[1] ?? message,
        ),
      ),
    );
    const tpm = await enrolled('beside-many');
    const agent = await introduce(world, tpm, 'beside-many');
    assert.equal(await answer(agent, tpm, 'beside-many', logOfImages(16_000, 'beside')), 'trusted');
    const ended = await Promise.all(outcomes);
    assert(ended.includes('too_large') && ended.includes('trusted'), ended.join(' '));
    const told = (await world.audit()).filter((entry) => /waits to be judged/.test(JSON.stringify(entry)));
    assert.notEqual(told.length, 0);
    await Promise.all([agent, ...owned.flatMap(({ peers }) => peers)].map((peer) => peer.close()));
  }).timeout(60_000);

  it('asks how many logs a node sent before it reads another one (row 363)', async () => {
    const tpm = await enrolled('many-logs');
    const peer = await introduce(world, tpm, 'many-logs');
    const send = async (log: Buffer) => {
      const challenge = await peer.challenge();
      peer.send(binaryFrame('part', log));
      const occasion = { node: 'many-logs', hello: peer.hello, channel: peer.channel, bootLog: log };
      peer.send(tpm.evidence(challenge, occasion));
    };
    for (let index = 0; index < 8; index++) {
      await send(logOfImages(1 + index, 'small').log);
      await peer.verdict();
      world.server.challengeNow('many-logs');
    }
    // No log at all: who parsed it would say so.
    await send(Buffer.from('this is no log of any firmware'));
    assert.equal(await peer.refusal(), 'too_large');
  });
});
