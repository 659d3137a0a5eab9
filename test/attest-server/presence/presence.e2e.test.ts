import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { listOf } from '../../../attest-server/api/list.ts';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { administrator, serviceAccount } from '../../../swtpm-fixtures/api-server/users.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { introduce } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';

const good = recordedLog('debian13-sdboot-uki');
const bad = tamper(good, 'kernel');
const goneAfter = 1500;

/** Each test goes on where the one before it ended. */
describe('a server whose nodes leave the cluster', () => {
  let api: ApiServer;
  let world: TestServer;
  const tpms = new Map<string, ForgedTpm>();
  before(async () => {
    api = await openApiServer({ rbac: false });
    await api.createNode('control-plane');
    world = await startTestServer({
      kubeconfig: await api.kubeconfig(serviceAccount('assay', 'assay-server')),
      agentTokens: 'never',
      challengeEvery: 2,
      unknownAfter: 2,
      presence: { goneAfter, archiveAfter: 4000 },
    });
    for (const node of ['node-1', 'node-2']) {
      await api.createNode(node);
      const tpm = forgedTpm();
      tpms.set(node, tpm);
      await world.pin(node, tpm.ekDigest);
    }
    await prove('node-1', good, 7);
    await world.call('POST', '/v1/references', { node: 'node-1', name: 'good' });
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await api?.[Symbol.asyncDispose]();
  });

  async function prove(node: string, bootLog: Buffer, resetCount: number): Promise<string> {
    const tpm = tpms.get(node) ?? assert.fail();
    const peer = await introduce(world, tpm, node);
    const challenge = await peer.challenge();
    peer.send(binaryFrame('part', bootLog));
    const sha256 = replayedValues(bootLog, 'sha256');
    const { hello, channel } = peer;
    const quote = (data: Buffer) =>
      madeQuote(tpm.ak, data, { pcrs: { sha256 }, resetCount, clock: BigInt(resetCount * 1000) });
    peer.send(tpm.evidence(challenge, { node, hello, channel, bootLog }, { quote }));
    const { state } = await peer.verdict();
    await peer.close();
    return state;
  }
  async function leave(node: string): Promise<void> {
    const { code, text } = await api.as(administrator).request('DELETE', `/api/v1/nodes/${node}`);
    assert.equal(code, 200, text);
  }
  const listed = async (query = '') => {
    const { items } = listOf(nodeView).parse(await world.call('GET', `/v1/nodes${query}`));
    return items.map(({ name, state }) => `${name} ${state}`);
  };
  const lists = (wanted: readonly string[], query = '') =>
    world.until(async () => (await listed(query)).join() === wanted.join(), 15_000);
  const audited = async (action: string) =>
    (await world.audit()).filter((entry) => entry.action === action).map(({ subject }) => subject);

  it('lists, counts and names no node that is gone, but one that is untrusted (rows 64, 114)', async () => {
    assert.equal(await prove('node-1', good, 7), 'trusted');
    assert.equal(await prove('node-2', bad, 7), 'untrusted');
    for (const node of tpms.keys()) await leave(node);
    await lists(['node-2 untrusted']);
    await lists(['node-1 unknown', 'node-2 untrusted'], '?all=true');
    const text = await world.metrics();
    assert.ok(!text.includes('node-1'));
    assert.match(text, /^assay_node_state\{node="node-2",state="untrusted"\} 1$/m);
    assert.match(text, /^assay_nodes\{state="unknown"\} 0$/m);
    assert.match(text, /^assay_nodes_gone 2$/m);
    assert.deepEqual((await audited('node.gone')).toSorted(), ['node-1', 'node-2']);
  });

  it('archives it after a while, and compares it with all that was before when its TPM comes back (row 171)', async () => {
    await lists(['node-2 untrusted'], '?all=true');
    const view = nodeView.parse(await world.call('GET', '/v1/nodes/node-1'));
    assert.ok(view.goneSince !== null && view.ek === tpms.get('node-1')?.ekDigest);
    assert.deepEqual(await audited('node.archive'), ['nodes']);
    // Its counters fell: it was rolled back while nobody looked.
    assert.equal(await prove('node-1', good, 6), 'untrusted');
    await lists(['node-1 untrusted', 'node-2 untrusted']);
    await world.until(async () => (await audited('node.back')).join() === 'node-1');
  });

  it('takes nobody for gone while the API of the cluster is empty (row 170)', async () => {
    await api.createNode('node-3');
    const tpm = forgedTpm();
    tpms.set('node-3', tpm);
    await world.pin('node-3', tpm.ekDigest);
    assert.equal(await prove('node-3', good, 7), 'trusted');
    for (const node of ['node-3', 'control-plane']) await leave(node);
    await world.until(async () => (await world.metric('assay_presence_doubt{cause="empty"}')) === 1);
    const since = performance.now();
    await world.until(() => performance.now() > since + 2 * goneAfter);
    assert.ok((await listed()).includes('node-3 unknown'));
    assert.match(await world.metrics(), /^assay_node_reason_info\{node="node-3",code="evidence_overdue"/m);
    await api.createNode('control-plane');
    await world.until(async () => !(await listed()).includes('node-3 unknown'), 15_000);
  });
});
