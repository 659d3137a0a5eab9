import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { introduce } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

describe('the end of a connection', () => {
  let world: TestServer;
  before(async () => {
    world = await startTestServer({ policy: 'observe', challengeEvery: 2, unknownAfter: 2 });
  });
  after(() => world?.[Symbol.asyncDispose]());

  const shown = async (node: string) => nodeView.parse(await world.call('GET', `/v1/nodes/${node}`));
  const ended = (node: string) => world.until(async () => (await shown(node)).disconnected);
  const proven = async (node: string, tpm: ForgedTpm) => {
    if ((await world.store.enrolment.nodeByEk(tpm.ekDigest)) === null) await world.pin(node, tpm.ekDigest);
    const peer = await introduce(world, tpm, node);
    peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel }));
    await peer.verdict();
    return peer;
  };

  for (const [status, said, kept] of [
    [1011, 'tpm_broker', 'tpm_broker'],
    [1001, 'stopped', 'stopped'],
    [1000, '', null],
    [1011, 'a word of later', null],
    [1011, '\u001b[2J" evil', null],
    [4000, 'TPM_BROKER', null],
  ] as const)
    it(`by the agent with ${status} and ${JSON.stringify(said)} is ${kept ?? 'without a word that is known'} (row 401)`, async () => {
      const node = `closed-${status}-${[...said].filter((c) => /[a-z]/.test(c)).length}`;
      const peer = await proven(node, forgedTpm());
      assert.equal((await shown(node)).disconnected, null);
      peer.socket.close(status, said);
      const { by, status: code, reason } = await ended(node);
      assert.deepEqual([by, code, reason], ['agent', status, kept]);
    });

  it('is one without a goodbye where the agent is killed', async () => {
    const peer = await proven('killed', forgedTpm());
    peer.socket.terminate();
    const { by, status, reason } = await ended('killed');
    assert.deepEqual([by, status, reason], ['reset', null, null]);
  });

  it('is the server’s where the agent is refused, with the code', async () => {
    const peer = await proven('refused', forgedTpm());
    peer.send({ type: 'no such message' });
    assert.equal(await peer.refusal(), 'malformed');
    const { by, status, reason } = await ended('refused');
    assert.deepEqual([by, status, reason], ['server', 1008, 'malformed']);
  });

  it('stands in the reason that is stored, with what the agent said', async () => {
    const peer = await proven('stored', forgedTpm());
    peer.socket.close(1011, 'tpm_broker');
    await world.until(async () => (await world.status('stored'))?.state === 'unknown');
    const [reason] = (await world.status('stored'))?.verdict?.reasons ?? [];
    assert.equal(reason?.code, 'evidence_overdue');
    assert.match(
      reason.text,
      /^The node has not proven itself lately: its agent closed the connection at \S+Z, and said that its TPM broker does not answer\.$/,
    );
  });

  it('changes nothing of a node where nothing was proven on it, whatever is said there (row 401)', async () => {
    const tpm = forgedTpm();
    const peer = await proven('copied', tpm);
    peer.socket.close(1001, 'stopped');
    const before = await ended('copied');
    // The public keys of a node are no secret.
    const copy = await introduce(world, tpm, 'copied');
    await copy.challenge();
    copy.socket.close(1011, 'tpm_broker');
    const stranger = await introduce(world, forgedTpm(), 'copied');
    stranger.socket.close(1011, 'tpm');
    await world.until(async () => (await world.metric('assay_unproven_connections{port="agents"}')) === 0);
    assert.deepEqual((await shown('copied')).disconnected, before);
  });

  it('is forgotten once the node has another one, and with the node', async () => {
    const tpm = forgedTpm();
    (await proven('back', tpm)).socket.close(1001, 'stopped');
    await ended('back');
    const again = await proven('back', tpm);
    const view = await shown('back');
    assert.equal(view.disconnected, null);
    assert.notEqual(view.heardAt, null);
    await world.call('POST', '/v1/enrolments/back/revoke', { reason: 'another machine is to have the name' });
    await world.until(() => again.socket.readyState === again.socket.CLOSED);
    const other = forgedTpm();
    await world.pin('back', other.ekDigest);
    await (await introduce(world, other, 'back')).challenge();
    const { ek, disconnected, heardAt } = await shown('back');
    assert.deepEqual([ek, disconnected, heardAt], [other.ekDigest, null, null]);
  });

  it('of an older connection that a newer one displaced is none', async () => {
    const tpm = forgedTpm();
    const first = await proven('twice', tpm);
    const second = await proven('twice', tpm);
    await world.until(() => first.socket.readyState === first.socket.CLOSED);
    assert.equal((await shown('twice')).disconnected, null);
    second.socket.close(1011, 'failed');
    assert.equal((await ended('twice')).reason, 'failed');
  });
});
