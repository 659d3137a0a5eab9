import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { authorityView } from '../../../attest-server/api/authority-api.ts';
import { authorityDigest } from '../../../attest-server/wire/authority.ts';
import { dial, enrolledNode, introduce } from '../attacker.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const node = 'node-1';

describe('an announcement of authorities, over a real connection', () => {
  let world: TestServer;
  let both: readonly string[] = [];
  const tpm = forgedTpm();
  before(async () => {
    world = await startTestServer({ policy: 'observe' });
    await enrolledNode(world, tpm, node);
    const made = authorityView.parse(await world.call('POST', '/v1/authority/rotate', {}));
    both = made.authorities.map(({ digest }) => digest);
  });
  after(() => world?.[Symbol.asyncDispose]());

  const untold = async () => authorityView.parse(await world.call('GET', '/v1/authority')).untold;
  const prove = async (authorities?: readonly string[]) => {
    const peer = await introduce(world, tpm, node, authorities && { hello: { authorities } });
    peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel }));
    return { peer, verdict: await peer.verdict() };
  };

  it('does not count whoever has proven nothing, whatever it says in the name of a node', async () => {
    const peer = await introduce(world, tpm, node, { hello: { authorities: both } });
    await peer.challenge();
    peer.send({ type: 'trusts', authorities: both });
    peer.send({ type: 'changed', what: 'x' });
    await peer.close();
    assert.equal(await untold(), 1);
  });

  it('refuses who speaks of trust before saying who it is', async () => {
    const peer = await dial(world);
    peer.send({ type: 'trusts', authorities: both });
    assert.equal(await peer.refusal(), 'malformed');
  });

  it('says nothing new to an agent of before, which stays as it was', async () => {
    const { peer, verdict } = await prove();
    assert.deepEqual([verdict.state, 'authorities' in verdict, await untold()], ['trusted', false, 1]);
    await peer.close();
  });

  it('comes with the verdict, and counts once the agent says so', async () => {
    const [old = ''] = both;
    assert.equal(authorityDigest(new X509Certificate(world.ca)), old);
    const { peer, verdict } = await prove([old]);
    assert.equal('authorities' in verdict, true);
    assert.equal(await untold(), 1);
    peer.send({ type: 'trusts', authorities: both });
    await world.until(async () => (await untold()) === 0);
    await peer.close();
  });

  it('counts of a hello, after its proof, what it says', async () => {
    const { peer } = await prove([both[0] ?? '']);
    assert.equal(await untold(), 1);
    await peer.close();
    await (await prove(both)).peer.close();
    assert.equal(await untold(), 0);
  });
});
