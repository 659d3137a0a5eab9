import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, it } from 'mocha';
import { madeEvent, madeNode } from '../store/made-records.ts';
import { leaseVolume, madeHeader, openMadeVolumes } from './made-volumes.ts';

describe('a volume that is made while keys are wrapped anew', () => {
  it('is wrapped by the newest key once that is said of all', async () => {
    await using made = await openMadeVolumes(() => 1000);
    const { volumes, wrappingKeyFile, groups } = made;
    const node = madeNode('node-1');
    const group = groups[0] ?? assert.fail();
    await made.enrol(node);
    const wanted = { node, group, path: '/var/lib/docker', by: 'token:test' };
    assert.ok(await volumes.add({ ...wanted, name: 'first' }));

    const earlier = readFileSync(wrappingKeyFile, 'utf8');
    chmodSync(wrappingKeyFile, 0o600);
    writeFileSync(wrappingKeyFile, `${randomBytes(32).toString('base64')}\n${earlier}`);
    const added = volumes.add({ ...wanted, name: 'second', path: '/srv' });
    await volumes.rewrap();
    const shown = await volumes.wrappingKeys();
    assert.ok(await added);
    assert.deepEqual(
      [shown, await volumes.wrappingKeys()].map((keys) => keys?.map(({ volumes: count }) => count)),
      [
        [2, 0],
        [2, 0],
      ],
    );
  });
});

describe('a key that is replaced', () => {
  it('is of its boot to come also where the clock was put back after a release', async () => {
    let at = 1000;
    await using made = await openMadeVolumes(() => at);
    const { volumes, store, wrapping, groups } = made;
    const [node, group] = [madeNode('node-1'), groups[0] ?? assert.fail()];
    await made.enrol(node);
    const { ekDigest } = node;
    const { uuid } = await leaseVolume(store, wrapping ?? assert.fail(), { node: node.name, ekDigest });
    const rotation = { uuid, node, group, by: 'token:test' };
    assert.ok(await volumes.rotate(rotation));
    const boot = { ekDigest, volume: uuid, resetCount: 7, leaseId: 'ab'.repeat(16), most: 5, address: null };
    const released = { ...boot, at: 9000, rotatingSince: 1000 };
    assert.equal(
      typeof (await store.leases.deliver(released, () => madeEvent('key.release', 'node-1'))),
      'object',
    );

    const shown = (await volumes.list())[0] ?? assert.fail();
    assert.ok(await volumes.cancelRotation(shown, 'token:test'));
    at = 5000;
    assert.ok(await volumes.rotate(rotation));
    const { escrow, ...header } = madeHeader({
      uuid,
      headerDigest: 'cd'.repeat(32),
      escrow: Buffer.alloc(9),
    });
    const kept = { ...header, escrow, leaseId: boot.leaseId };
    const change = { name: 'none', amend: () => assert.fail() };
    assert.equal(
      await store.leases.keepNextHeader(kept, change),
      false,
      'that boot has the earlier next key',
    );
  });

  it('is a lease of the TPM that its volume is bound to from then on', async () => {
    await using made = await openMadeVolumes(() => 1000);
    const { volumes, store, wrapping, groups } = made;
    const [node, group] = [madeNode('node-1'), groups[0] ?? assert.fail()];
    const before = madeNode('node-2');
    for (const one of [node, before]) await made.enrol(one);
    const of = { node: node.name, ekDigest: before.ekDigest };
    const { uuid } = await leaseVolume(store, wrapping ?? assert.fail(), of);
    assert.equal(made.hasLease(node.ekDigest), false);
    assert.ok(await volumes.rotate({ uuid, node, group, by: 'token:test' }));
    assert.equal(made.hasLease(node.ekDigest), true);
  });
});
