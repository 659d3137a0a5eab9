import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { captureAnswer } from '../../../attest-server/api/api.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { introduce } from '../attacker.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { type ForgedFleet, startForgedFleet } from './forged-fleet.ts';

const good = recordedLog('debian13-sdboot-uki');

describe('a capture of what is kept', () => {
  let fleet: ForgedFleet;
  before(async () => {
    fleet = await startForgedFleet({ 'node-1': good, 'node-2': good, 'node-3': tamper(good, 'kernel') });
  });
  after(() => fleet?.[Symbol.asyncDispose]());

  it('needs no answer since the server started, and covers all the nodes that it names', async () => {
    const { world, nodes, answer } = fleet;
    for (const node of nodes) assert.equal(await answer(node), 'pending');
    await world.restart();
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
    const { world } = fleet;
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
