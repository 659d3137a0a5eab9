import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { madeClusterNode } from '../marking/made-cluster.ts';
import { madeEvent } from '../store/made-records.ts';
import { day, Fleet, minute } from './made-fleet.ts';

describe('a node that leaves its cluster', () => {
  let fleet: Fleet;
  beforeEach(async () => {
    fleet = await Fleet.open();
    await fleet.enrol('node-1', 'node-2', 'node-3');
    await fleet.up('node-1', 'node-2', 'node-3');
    await fleet.pass(minute);
  });
  afterEach(() => fleet.close());

  /** It broke its policy: a clock that runs backwards. */
  const tamper = (name: string) => fleet.prove(name, { resetCount: 1, clock: 1n });

  it('is waited for, and then gone: in no list but that of all, with one audit entry', async () => {
    fleet.down('node-2');
    await fleet.pass(9 * minute);
    assert.deepEqual(await fleet.listed(), ['node-1 trusted', 'node-2 unknown', 'node-3 trusted']);
    await fleet.pass(2 * minute);
    assert.deepEqual(await fleet.listed(), ['node-1 trusted', 'node-3 trusted']);
    assert.deepEqual(await fleet.listed(true), ['node-1 trusted', 'node-2 unknown', 'node-3 trusted']);
    await fleet.pass(20 * minute);
    assert.deepEqual(await fleet.actions(), ['node.gone node-2']);
    const view = (await fleet.views(true)).find(({ name }) => name === 'node-2');
    assert.ok(view?.missingSince != null && view.goneSince != null && view.missingSince < view.goneSince);
    assert.equal((await fleet.store.enrolment.node('node-2'))?.name, 'node-2');
  });

  it('is not gone while its agent is connected, or its Node is there', async () => {
    fleet.cluster.nodesByName.delete('node-1');
    fleet.connected.delete('node-2');
    await fleet.pass(20 * minute);
    assert.deepEqual(await fleet.listed(), ['node-1 trusted', 'node-2 unknown', 'node-3 trusted']);
    assert.deepEqual(await fleet.actions(), []);
  });

  it('is counted where the cluster has its Node and nobody has enrolled it', async () => {
    assert.deepEqual(fleet.presence.figures().unenrolled(), ['control-plane']);
    fleet.cluster.add(madeClusterNode('node-9'));
    await fleet.pass(minute);
    assert.deepEqual(fleet.presence.figures().unenrolled(), ['control-plane', 'node-9']);
    await fleet.enrol('node-9');
    await fleet.prove('node-9');
    assert.deepEqual(fleet.presence.figures().unenrolled(), ['control-plane']);
  });

  it('is not gone where it was never a Node: nobody misses a machine of no cluster', async () => {
    await fleet.enrol('db-1');
    await fleet.prove('db-1');
    await fleet.pass(20 * minute);
    assert.ok((await fleet.listed()).includes('db-1 unknown'));
    assert.deepEqual(await fleet.actions(), []);
  });

  it('is back at once when its TPM proves itself, though no Node is there', async () => {
    fleet.down('node-2');
    await fleet.pass(12 * minute);
    await fleet.prove('node-2');
    assert.ok((await fleet.listed()).includes('node-2 trusted'));
    await fleet.look();
    assert.deepEqual(await fleet.actions(), ['node.gone node-2', 'node.back node-2 tpm']);
  });

  it('is back when its Node is: as it was last proven, which is no proof of today', async () => {
    fleet.down('node-2');
    await fleet.pass(12 * minute);
    fleet.cluster.add(madeClusterNode('node-2', { uid: 'another' }));
    await fleet.look();
    assert.ok((await fleet.listed()).includes('node-2 unknown'));
    await fleet.pass(minute);
    assert.ok((await fleet.listed()).includes('node-2 unknown'));
    assert.deepEqual(await fleet.actions(), ['node.gone node-2', 'node.back node-2 node']);
    const [latest] = await fleet.store.verdicts.history('node-2', { limit: 1 });
    assert.equal(latest?.verdict.state, 'unknown');
  });

  it('stays listed and untrusted where it was: silence launders nothing, nor does a Node that is deleted (rows 64, 114)', async () => {
    assert.equal(await tamper('node-2'), 'untrusted');
    fleet.down('node-2');
    await fleet.pass(20 * minute);
    assert.ok((await fleet.listed()).includes('node-2 untrusted'));
    assert.deepEqual(await fleet.actions(), ['node.gone node-2']);
    await fleet.pass(40 * day, 4 * day);
    assert.ok((await fleet.listed()).includes('node-2 untrusted'));
    assert.equal(await fleet.prove('node-2'), 'untrusted');
  });

  it('stays gone over a new start, and is back after it', async () => {
    fleet.down('node-2');
    await fleet.pass(12 * minute);
    await fleet.start();
    await fleet.look();
    assert.deepEqual(await fleet.listed(), ['node-1 trusted', 'node-3 trusted']);
    await fleet.up('node-2');
    assert.equal((await fleet.listed()).length, 3);
    await fleet.look();
    await fleet.start();
    assert.equal((await fleet.listed()).length, 3);
    assert.deepEqual(await fleet.actions(), ['node.gone node-2', 'node.back node-2 tpm']);
  });

  it('is gone nowhere where the server is in no cluster any more', async () => {
    fleet.down('node-2');
    await fleet.pass(12 * minute);
    const count = await fleet.store.presence.forgetAll(() => madeEvent('node.back', 'nodes'));
    assert.equal(count, 1);
    await fleet.start(false);
    await fleet.look();
    assert.equal((await fleet.listed()).length, 3);
  });

  it('is waited for anew where the API was not known meanwhile', async () => {
    fleet.down('node-2');
    await fleet.pass(8 * minute);
    fleet.isSynced = false;
    await fleet.pass(30 * minute);
    assert.equal((await fleet.listed()).length, 3);
    fleet.isSynced = true;
    await fleet.pass(10 * minute);
    assert.equal((await fleet.listed()).length, 3);
    await fleet.pass(2 * minute);
    assert.equal((await fleet.listed()).length, 2);
  });

  it('is not believed to have left where the API was emptied, and no alert falls silent for it (row 170)', async () => {
    fleet.cluster.nodesByName.clear();
    fleet.connected.clear();
    await fleet.pass(20 * minute);
    assert.deepEqual(await fleet.listed(), ['node-1 unknown', 'node-2 unknown', 'node-3 unknown']);
    assert.deepEqual(fleet.told, ['doubt empty']);
    assert.ok((await fleet.views()).every(({ missingSince }) => missingSince === null));
  });

  it('is not believed to have left where the API denies agents that are connected, or the server’s own Node (row 170)', async () => {
    await fleet.enrol('node-4');
    await fleet.up('node-4');
    await fleet.look();
    for (const name of fleet.machines.keys()) fleet.cluster.nodesByName.delete(name);
    fleet.connected.delete('node-1');
    await fleet.pass(20 * minute);
    assert.ok((await fleet.listed()).includes('node-1 unknown'));
    assert.deepEqual(fleet.told, ['doubt contradicted']);
    fleet.told.length = 0;
    fleet.ownNode = 'another';
    await fleet.start();
    fleet.connected.clear();
    await fleet.pass(20 * minute);
    assert.equal((await fleet.listed()).length, 4);
    assert.deepEqual(fleet.told, ['doubt own_node']);
  });

  it('is gone, too, where it enrolled and was never judged', async () => {
    await fleet.enrol('node-4');
    fleet.cluster.add(madeClusterNode('node-4'));
    await fleet.pass(minute);
    assert.ok((await fleet.listed()).includes('node-4 pending'));
    fleet.cluster.nodesByName.delete('node-4');
    await fleet.pass(12 * minute);
    assert.deepEqual(await fleet.actions(), ['node.gone node-4']);
    assert.equal((await fleet.listed()).length, 3);
  });

  it('is told loudly where most of the fleet goes at once', async () => {
    fleet.down('node-1', 'node-2');
    await fleet.pass(12 * minute);
    assert.deepEqual(fleet.told, ['gone 2, most']);
  });

  it('is not gone where that cannot be written down', async () => {
    const { leave } = fleet.store.presence;
    Object.assign(fleet.store.presence, { leave: () => Promise.reject(new Error('no room')) });
    fleet.down('node-2');
    await assert.rejects(fleet.pass(12 * minute), /no room/);
    assert.equal((await fleet.listed()).length, 3);
    Object.assign(fleet.store.presence, { leave });
    await fleet.pass(3 * minute);
    assert.equal((await fleet.listed()).length, 2);
  });

  it('is no longer gone once its enrolment is revoked and another TPM has the name', async () => {
    fleet.down('node-2');
    await fleet.pass(12 * minute);
    const { record } = fleet.machines.get('node-2') ?? assert.fail();
    const { ekDigest, akName } = record;
    const revoked = { name: 'node-2', ekDigest, at: fleet.now, reason: 'exchanged' };
    await fleet.attestation.lives.release(
      'node-2',
      () => fleet.store.enrolment.revoke(revoked, madeEvent('enrol.revoke', 'node-2')),
      akName,
    );
    await fleet.look();
    await fleet.enrol('node-2');
    await fleet.prove('node-2');
    assert.ok((await fleet.listed()).includes('node-2 trusted'));
    await fleet.pass(20 * minute);
    assert.ok((await fleet.listed()).includes('node-2 unknown'));
  });
});

describe('a node that is gone for long', () => {
  let fleet: Fleet;
  beforeEach(async () => {
    fleet = await Fleet.open();
    await fleet.enrol('node-1', 'node-2');
    await fleet.up('node-1', 'node-2');
    await fleet.pass(minute);
    await fleet.attestation.idle();
    fleet.down('node-2');
    await fleet.pass(12 * minute);
    await fleet.pass(31 * day, 8 * day);
    await fleet.look();
  });
  afterEach(() => fleet.close());

  it('is archived: in no list and not in memory, while key and name are bound', async () => {
    assert.deepEqual(await fleet.listed(true), ['node-1 trusted']);
    assert.equal(fleet.attestation.status('node-2'), null);
    assert.deepEqual(await fleet.actions(), ['node.gone node-2', 'node.archive nodes']);
    const { ekDigest } = fleet.machines.get('node-2')?.record ?? assert.fail();
    assert.equal((await fleet.store.enrolment.nodeByEk(ekDigest))?.name, 'node-2');
    assert.deepEqual(
      (await fleet.store.enrolment.everyNode()).map(({ name }) => name),
      ['node-1', 'node-2'],
    );
    assert.ok((await fleet.presence.readAbsence('node-2'))?.goneAt != null);
    assert.ok((await fleet.store.verdicts.history('node-2', { limit: 9 })).length > 0);
    const erased = (await fleet.store.audit.entries({ limit: 999 })).filter(
      ({ action, subject }) => action === 'evidence_erased' && subject === 'archived nodes',
    );
    assert.equal(erased.length, 1);
    await fleet.start();
    assert.deepEqual(
      fleet.attestation.statuses().map(({ name }) => name),
      ['node-1'],
    );
  });

  it('comes back with all that is held against it: an archive launders nothing (row 171)', async () => {
    assert.equal(await fleet.prove('node-2', { resetCount: 1, clock: 1n }), 'untrusted');
    await fleet.look();
    assert.ok((await fleet.listed()).includes('node-2 untrusted'));
    assert.deepEqual((await fleet.actions()).at(-1), 'node.back node-2 tpm');
    await fleet.start();
    assert.ok((await fleet.listed()).includes('node-2 untrusted'));
  });

  it('comes back where the server ended before it wrote that down (row 171)', async () => {
    await fleet.prove('node-2', { resetCount: 1, clock: 1n });
    await fleet.start();
    assert.ok((await fleet.listed()).includes('node-2 untrusted'));
  });

  it('comes back with its Node, and trusts nobody for a verdict of long ago', async () => {
    fleet.cluster.add(madeClusterNode('node-2', { uid: 'another' }));
    await fleet.look();
    await fleet.look();
    assert.ok((await fleet.listed()).includes('node-2 unknown'));
    assert.deepEqual((await fleet.actions()).at(-1), 'node.back node-2 node');
    await fleet.up('node-2');
    assert.ok((await fleet.listed()).includes('node-2 trusted'));
  });
});
