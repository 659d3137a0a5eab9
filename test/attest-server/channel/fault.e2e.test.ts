import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'mocha';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import type { Facts } from '../../../attest-server/wire/facts.ts';
import { enrolledNode, introduce, type Peer } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote, madeValues } from '../verify/made-quote.ts';

const faults = 'assay_attestations_total{result="fault",reason="none"}';
const secret = 'a secret of the server at /srv/private.ts:7';

describe('a server that fails while it judges', () => {
  let world: TestServer;
  const [sick, well] = [forgedTpm(), forgedTpm()];
  before(async () => {
    world = await startTestServer({ policy: 'observe', challengeEvery: 2, unknownAfter: 2 });
    await enrolledNode(world, sick, 'sick');
    await enrolledNode(world, well, 'well');
    // From now on the store throws for this one node.
    const database = new DatabaseSync(join(world.stateDir, 'assay.db'));
    database.exec(
      `create trigger fault before insert on history when new.node = 'sick' begin select raise(abort, '${secret}'); end`,
    );
    database.close();
  });
  after(() => world?.[Symbol.asyncDispose]());

  let boots = 7;
  /** A boot later than that of the answer before, so that the history has a row of it. */
  const answer = async (tpm: ForgedTpm, node: string, host: Facts['host'] = {}): Promise<Peer> => {
    const peer = await introduce(world, tpm, node);
    boots += 1;
    const bootId = `6f9619ff-8b86-d011-b42d-${String(boots).padStart(12, '0')}`;
    const occasion = { node, hello: peer.hello, channel: peer.channel, host, bootId };
    const quote = (data: Buffer) => madeQuote(tpm.ak, data, { resetCount: boots });
    peer.send(tpm.evidence(await peer.challenge(), occasion, { quote }));
    return peer;
  };

  it('stores no verdict, counts the error, and judges the others, also in the same moment (row 75)', async () => {
    const before = await world.metric(faults);
    const stored = await world.status('sick');
    const rows = (await world.store.verdicts.history('sick', { limit: 99 })).length;
    const [bad, good] = await Promise.all([answer(sick, 'sick'), answer(well, 'well')]);
    const closed = once(bad.socket, 'close');
    assert.equal((await good.verdict()).state, 'trusted');
    const [code, reason] = await closed;
    assert.deepEqual([code, String(reason).includes('secret')], [1011, false]);
    assert.deepEqual(await bad.receive(), { type: 'error', code: 'server_fault' });
    assert.equal(await bad.receive(), null);
    assert.equal(await world.metric(faults), before + 1);
    assert.equal(await world.metric('assay_server_faults_total{cause="internal"}'), before + 1);
    assert.deepEqual(await world.status('sick'), stored);
    assert.equal((await world.store.verdicts.history('sick', { limit: 99 })).length, rows);
    await good.close();
  });

  it('remembers nothing of an answer that it could not store: its system UUID is free for another node', async () => {
    const host = { systemUuid: '4c4c4544-0042-3510-8052-b4c04f4d5132' };
    const bad = await answer(sick, 'sick', host);
    assert.deepEqual((await once(bad.socket, 'close'))[0], 1011);
    const good = await answer(well, 'well', host);
    const { state, codes } = await good.verdict();
    assert.deepEqual([state, codes.includes('identity_claim_mismatch')], ['trusted', false]);
    await good.close();
  });

  it('lets nobody stay trusted because judging stopped (row 75)', async () => {
    const shown = async (node: string) => {
      const { state, reason } = nodeView.parse(await world.call('GET', `/v1/nodes/${node}`));
      return { state, reason };
    };
    await world.until(async () => (await shown('sick')).state === 'unknown', 6_000);
    // The store takes what becomes of the other one.
    await world.until(async () => (await world.status('well'))?.state === 'unknown', 6_000);
    assert.deepEqual(await shown('sick'), { state: 'unknown', reason: 'server_fault' });
    assert.deepEqual(await shown('well'), { state: 'unknown', reason: 'evidence_overdue' });
    assert.equal((await world.status('sick'))?.state, 'trusted');
    const told = (await world.audit()).filter(
      ({ action, code }) => action === 'verdict' && code === 'evidence_overdue',
    );
    assert.deepEqual(
      told.map(({ subject, detail }) => [subject, detail.state]),
      [['well', 'unknown']],
    );
    await world.until(async () => (await world.metric('assay_nodes{state="unknown"}')) === 2);
  });
});

describe('what a refused peer is told', () => {
  let world: TestServer;
  const tpm = forgedTpm();
  before(async () => {
    world = await startTestServer();
    await enrolledNode(world, tpm, 'node-1');
  });
  after(() => world?.[Symbol.asyncDispose]());

  it('is a code and nothing else: no value, no key, no token, no stack (row 77)', async () => {
    const token = await world.joinToken('node-2');
    const attacks: readonly (readonly [string, (peer: Peer & { hello: string }) => Promise<void> | void])[] =
      [
        [
          'pcr_digest_mismatch',
          async (peer) => {
            const occasion = { node: 'node-1', hello: peer.hello, channel: peer.channel };
            const quote = (signed: Buffer) => ({
              ...madeQuote(tpm.ak, signed),
              pcrs: { sha256: madeValues(32, 'other') },
            });
            peer.send(tpm.evidence(await peer.challenge(), occasion, { quote }));
          },
        ],
        ['malformed', (peer) => peer.send(`{"type":"${token}"}`)],
        ['malformed', (peer) => peer.send('{')],
        ['malformed', (peer) => peer.send(Buffer.from([9, 9]))],
      ];
    const state = (await world.status('node-1'))?.state;
    for (const [code, attack] of attacks) {
      const refusals = `assay_refusals_total{code="${code}"}`;
      const counted = await world.metric(refusals);
      const peer = await introduce(world, tpm, 'node-1');
      const frames: string[] = [];
      peer.socket.on('message', (data: Buffer) => frames.push(data.toString('utf8')));
      const closed = once(peer.socket, 'close');
      await attack(peer);
      const [, reason] = await closed;
      assert.equal(frames.at(-1), JSON.stringify({ type: 'error', code }));
      assert.equal(String(reason), code);
      assert.equal(await world.metric(refusals), counted + 1);
      await world.until(async () =>
        (await world.audit()).find((each) => each.action === 'refuse' && each.code === code),
      );
    }
    assert.equal((await world.status('node-1'))?.state, state);
    const secret = token.split('.')[3] ?? token;
    assert(!JSON.stringify(await world.audit()).includes(secret));
  });

  it('is the same where its token is bad (row 77)', async () => {
    const peer = await introduce(world, forgedTpm(), 'node-3', { joinToken: badToken });
    assert.equal(await peer.refusal(), 'enrolment_pending');
  });
});

const badToken = Buffer.concat([Buffer.of(1), Buffer.from('unknown.secret')]);
