import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { captureAnswer } from '../../../attest-server/protocol/api.ts';
import { binaryFrame } from '../../../attest-server/protocol/messages.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { introduce } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';

const good = recordedLog('debian13-shim-grub');
const boots: Readonly<Record<string, Buffer>> = {
  'node-1': good,
  'node-2': good,
  'node-3': tamper(good, 'kernel'),
};

describe('a capture of what is kept', () => {
  let world: TestServer;
  const tpms = new Map<string, ForgedTpm>(Object.keys(boots).map((node) => [node, forgedTpm()]));
  before(async () => {
    world = await startTestServer();
    for (const [node, { ekDigest }] of tpms) await world.pin(node, ekDigest);
  });
  after(() => world?.[Symbol.asyncDispose]());

  async function answer(node: string): Promise<string> {
    const tpm = tpms.get(node) ?? assert.fail();
    const bootLog = boots[node] ?? assert.fail();
    const peer = await introduce(world, tpm, node);
    const challenge = await peer.challenge();
    if (challenge.holds.length === 0) peer.send(binaryFrame('bootLog', bootLog));
    const sha256 = replayedValues(bootLog, 'sha256');
    const occasion = { node, hello: peer.hello, channel: peer.channel, bootLog };
    const quote = (data: Buffer) => madeQuote(tpm.ak, data, { pcrs: { sha256 } });
    peer.send(tpm.evidence(challenge, occasion, { quote }));
    const { state } = await peer.verdict();
    await peer.close();
    return state;
  }

  it('needs no answer since the server started, and covers all the nodes that it names', async () => {
    for (const node of tpms.keys()) assert.equal(await answer(node), 'pending');
    await world.restart();
    const nodes = [...tpms.keys()];
    const made = captureAnswer.parse(await world.call('POST', '/v1/references', { nodes, name: 'workers' }));
    assert.deepEqual(
      [made, ...made.others].map(({ name, captured }) => [name, captured?.node]),
      [
        ['workers', 'node-1'],
        ['workers-2', 'node-3'],
      ],
    );
    const entries = (await world.audit()).filter(({ action }) => action === 'reference.capture');
    assert.deepEqual(
      entries.map(({ subject, detail }) => [subject, detail.nodes]),
      [
        ['workers', 'node-1 node-2 node-3'],
        ['workers-2', 'node-1 node-2 node-3'],
      ],
    );
    for (const node of nodes) assert.equal(await answer(node), 'trusted');
  });

  it('stores nothing where one of the nodes was never judged', async () => {
    const late = forgedTpm();
    await world.pin('node-4', late.ekDigest);
    const peer = await introduce(world, late, 'node-4');
    await peer.challenge();
    await peer.close();
    await assert.rejects(
      world.call('POST', '/v1/references', { nodes: ['node-1', 'node-4'], name: 'more' }),
      /409.*evidence_overdue/s,
    );
    assert.equal((await world.store.references.list()).length, 2);
  });
});
