import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, it } from 'mocha';
import { assertRefused, dial, enrolledNode, type Peer } from '../attest-server/attacker.ts';
import { type ForgedTpm, forgedTpm } from '../attest-server/forged-tpm.ts';
import { startTestServer, type TestServer } from '../attest-server/running-server.ts';
import { assertAccepted, readRefusedRelease, readReleases } from './recording.ts';

const node = 'node-1';
const authorities: readonly string[] = ['a'.repeat(64)];

/** What a replay cannot show, since its verdicts and challenges are not made by the server's connection. */
describe('a real server, towards an agent that speaks what an earlier release spoke', () => {
  for (const release of readReleases())
    describe(release.version, () => {
      let world: TestServer;
      const tpm: ForgedTpm = forgedTpm();
      before(async () => {
        world = await startTestServer();
        await world.pin(node, tpm.ekDigest);
      });
      after(() => world?.[Symbol.asyncDispose]());

      /** Connects and says hello; everything that comes is checked as it comes. */
      async function connect(name: string): Promise<{ peer: Peer; hello: string; types: () => string[] }> {
        const peer = await dial(world);
        const said: string[] = [];
        peer.socket.on('message', (data: Buffer, isBinary: boolean) => {
          said.push(isBinary ? 'binary' : data.toString('utf8'));
        });
        const known = { ...tpm.hello(name), speaks: ['parts', 'codes', 'files', 'paths'], authorities };
        assertAccepted(release.accepted.fromAgent, known);
        const hello = JSON.stringify(known);
        peer.send(hello);
        const types = () =>
          said.map((text) => {
            assert.notEqual(text, 'binary');
            const message: { readonly type: string } = JSON.parse(text);
            assertAccepted(release.accepted.fromServer, message);
            return message.type;
          });
        return { peer, hello, types };
      }

      it('says nothing that this agent does not take: enrolment, verdicts, an announcement', async () => {
        const { peer, hello, types } = await connect(node);
        const answer = async () => {
          const evidence = tpm.evidence(await peer.challenge(), { node, hello, channel: peer.channel });
          assertAccepted(release.accepted.fromAgent, evidence);
          peer.send(evidence);
          return peer.verdict();
        };
        const activate = await peer.receive();
        assert(activate !== null);
        peer.send(tpm.activated(activate, peer.channel, hello));
        assert.equal((await answer()).state, 'pending');
        await world.call('POST', '/v1/authority/rotate', {});
        peer.send({ type: 'changed', what: 'test' });
        const announced = await answer();
        assert('authorities' in announced && Array.isArray(announced.authorities));
        assert.equal(announced.authorities.length, 2);
        assert.deepEqual(types(), ['activate', 'challenge', 'verdict', 'challenge', 'verdict']);
        await peer.close();
      });

      it('refuses with nothing but an error that this agent takes', async () => {
        const { peer, types } = await connect('node-2');
        await once(peer.socket, 'close');
        assert.deepEqual(types(), ['error']);
      });
    });
});

describe('a real server, towards an agent of 0.1.0', () => {
  it('tells it in a word that it takes, does not touch its node, and tells people what to do', async () => {
    const release = readRefusedRelease();
    await using world = await startTestServer({ policy: 'observe' });
    const tpm = forgedTpm();
    await enrolledNode(world, tpm, node);
    const before = await world.status(node);
    const { speaks: _, ...hello } = tpm.hello(node);
    assertAccepted(release.accepted.fromAgent, hello);
    await assertRefused(world, node, 'malformed', async () => {
      const peer = await dial(world);
      peer.send(hello);
      const first = await peer.peek();
      assertAccepted(release.accepted.fromServer, first);
      return peer;
    });
    assert.deepEqual(await world.status(node), before);
    const entry = (await world.audit()).at(-1);
    assert.match(JSON.stringify(entry?.detail), /before 0\.3\.0: update it to 0\.3\.0/);
  });
});
