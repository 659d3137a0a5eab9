import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { bounds } from '../../../attest-server/channel/bounds.ts';
import { binaryFrame, spokenWords } from '../../../attest-server/wire/messages.ts';
import { enrolledNode, introduce, type Peer } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { type HonestAgent, honestAgent } from '../honest-agent.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const mib = 1024 * 1024;
/** Each sends some ten MiB for one challenge: three have room. */
const attackers = 12;

describe('enrolled nodes that send all that they may, and no answer', () => {
  let world: TestServer;
  let honest: HonestAgent;
  const tpms: ForgedTpm[] = Array.from({ length: attackers }, () => forgedTpm());
  const node = (which: number) => `node-${which}`;
  before(async () => {
    world = await startTestServer({ policy: 'observe', challengeEvery: 300, unknownAfter: 900 });
    for (const [which, tpm] of tpms.entries()) await enrolledNode(world, tpm, node(which));
    const tpm = forgedTpm();
    await enrolledNode(world, tpm, 'honest');
    honest = await honestAgent(world, tpm, 'honest');
    await world.until(() => honest.states.length > 0);
  });
  after(async () => {
    await honest?.peer.close();
    await world?.[Symbol.asyncDispose]();
  });

  async function prove(which: number): Promise<Peer> {
    const tpm = tpms[which] ?? forgedTpm();
    const peer = await introduce(world, tpm, node(which), { hello: { speaks: spokenWords } });
    const { hello, channel } = peer;
    peer.send(tpm.evidenceOfParts(await peer.challenge(), { node: node(which), hello, channel }, {}));
    await peer.verdict();
    return peer;
  }
  const held = () => world.metric('assay_open_answer_bytes');
  const gaveWay = () => world.metric('assay_door_refusals_total{port="agents",bound="proven_bytes"}');

  it('fill no more than a bound for all: the heaviest gives way and comes again, and an honest node goes on (row 369)', async () => {
    const peers: Peer[] = [];
    let most = 0;
    for (let which = 0; which < attackers; which++) {
      const peer = await prove(which);
      peers.push(peer);
      assert.equal(world.server.challengeNow(node(which)), true);
      await peer.challenge();
      for (let part = 0; part < 7; part++) peer.send(binaryFrame('part', randomBytes(820 * 1024)));
      // A frame whose end does not come.
      peer.socket.send(Buffer.alloc(3.9 * mib), { fin: false, binary: true });
      await world.until(async () => (await held()) > most || (await gaveWay()) > 0);
      most = Math.max(most, await held());
    }
    await world.until(async () => (await gaveWay()) > 5);
    assert.ok(most > 9 * mib && (await held()) <= bounds.openAnswers.bytes, `${most / mib} MiB`);
    const before = honest.states.length;
    world.server.challengeNow('honest');
    await world.until(() => honest.states.length > before);
    // Whoever gave way reads why, and is judged again.
    const [ended] = await Promise.all(
      peers.flatMap(async (peer, which) => (peer.socket.readyState === peer.socket.OPEN ? [] : [which])),
    ).then((all) => all.flat());
    assert.ok(ended !== undefined);
    assert.equal(await peers[ended]?.refusal(), 'too_large');
    await (await prove(ended)).close();
    // Those who stay have given up all of it once they are gone.
    for (const { socket } of peers) socket.terminate();
    await world.until(async () => (await held()) === 0);
    assert.equal(honest.peer.socket.readyState, honest.peer.socket.OPEN);
  });
});
