import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, it } from 'mocha';
import type { Delivery, NewVolume, RefusedBoot } from '../../../attest-server/keys/ports.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { madeHeader } from '../keys/made-volumes.ts';
import { madeEvent, madeNode } from './made-records.ts';
import { openMadeStore } from './made-store.ts';

const uuid = '11111111-2222-4333-8444-555555555555';
const owner = madeNode('node-1');
const secret = (text: string, keyId = 'first') => ({ keyId, bytes: Buffer.from(text) });
const volume: NewVolume = {
  node: owner.name,
  ekDigest: owner.ekDigest,
  uuid,
  name: 'docker',
  path: '/var/lib/docker',
  createdAt: 1000,
  createdBy: 'token:alice',
  key: secret('wrapped key'),
  recovery: secret('wrapped passphrase'),
  recoveryEscrow: Buffer.from('passphrase by age'),
  recipients: ['age1of-a-person'],
};

describe('the store of disk keys', () => {
  let folder: string;
  let store: Store;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'assay-leases-'));
    store = await openMadeStore(join(folder, 'state', 'assay.db'));
    await store.enrolment.enrol(owner, madeEvent('enrol', owner.name));
    assert.equal(await store.leases.add(volume, madeEvent('volume.add', owner.name)), true);
  });
  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  const actions = async () => (await store.audit.entries({ limit: 100 })).map(({ action }) => action);
  const lease = (index: number) => index.toString(16).padStart(32, '0');
  const deliver = (change: Partial<Delivery> = {}) =>
    store.leases.deliver(
      {
        ekDigest: owner.ekDigest,
        volume: uuid,
        resetCount: 7,
        leaseId: lease(1),
        at: 2000,
        address: null,
        most: 5,
        rotatingSince: null,
        ...change,
      },
      () => madeEvent('key.release', owner.name),
    );

  it('keeps what was added, and shows no secret in the list', async () => {
    const stored = await store.leases.volume(uuid);
    assert.deepEqual([stored?.key, stored?.recovery], [volume.key, volume.recovery]);
    const { key, recovery, recoveryEscrow, recipients, ...shown } = volume;
    const none = {
      headerDigest: null,
      formattedAt: null,
      revoked: null,
      releasedAt: null,
      cappedAt: null,
      rotation: null,
      recipients: { passphrase: recipients, header: null },
    };
    assert.deepEqual(await store.leases.volumes(), [{ ...shown, ...none }]);
    assert.deepEqual(await store.leases.escrow(uuid, madeEvent('volume.escrow', owner.name)), {
      recovery: recoveryEscrow,
      header: null,
    });
  });

  it('counts anew where the counters of a TPM went back, as a person allowed, and nowhere else', async () => {
    for (const resetCount of [3, 4, 5]) {
      const leaseId = lease(resetCount);
      await deliver({ resetCount, leaseId });
      await store.leases.consume(
        { leaseId, ekDigest: owner.ekDigest, at: 3000 },
        madeEvent('key.unlock', 'node-1'),
      );
    }
    assert.equal(await deliver({ resetCount: 5 }), 'lease_consumed');
    // It was cleared, and boots.
    for (const resetCount of [1, 2, 3, 4, 5])
      assert.deepEqual(await deliver({ resetCount, leaseId: lease(10 + resetCount) }), {
        leaseId: lease(10 + resetCount),
        deliveries: 1,
        isNewAddress: false,
      });
  });

  it('reads no header that it does not show: each has a megabyte, and so has each node', async () => {
    const escrow = randomBytes(32 * 1024 * 1024);
    assert(await store.leases.keepHeader(madeHeader({ uuid, headerDigest: 'ab'.repeat(32), escrow })));
    await deliver();
    const read = [
      () => store.leases.volumes(),
      () => store.leases.volume(uuid),
      () => store.leases.leased({ leaseId: lease(1), ekDigest: owner.ekDigest }),
      () => store.leases.wrappedByOthers('another', '', 10),
    ];
    for (const each of read) {
      const before = process.memoryUsage().arrayBuffers;
      await each();
      assert(process.memoryUsage().arrayBuffers - before < escrow.length / 2, String(each));
    }
    assert.deepEqual(
      (await store.leases.escrow(uuid, madeEvent('volume.escrow', owner.name)))?.header,
      escrow,
    );
  });

  it('finds a volume as quickly among the leases of a fleet over the years as alone', async () => {
    const cpuOfReads = async () => {
      const before = process.cpuUsage();
      for (let read = 0; read < 20; read++) await store.leases.volume(uuid);
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1000;
    };
    await cpuOfReads();
    const alone = await cpuOfReads();
    using file = new DatabaseSync(join(folder, 'state', 'assay.db'));
    file.exec(`with recursive boot (n) as (select 1 union all select n + 1 from boot where n < 100000)
      insert into leases select hex(randomblob(16)), hex(randomblob(32)), hex(randomblob(16)), n, 1, n, n, n from boot`);
    const among = await cpuOfReads();
    assert(among < 10 * alone + 20, `${among} ms, and ${alone} ms before`);
  });

  it('gives no key that was revoked, or removed, once that is said: however close they come (row 430)', async () => {
    const revoked = { at: 3000, by: 'token:operator', because: 'stolen' };
    const event = madeEvent('volume.revoke', owner.name);
    const [first, isRevoked, second] = await Promise.all([
      deliver(),
      store.leases.revoke(uuid, revoked, event),
      deliver({ resetCount: 8, leaseId: lease(2) }),
    ]);
    assert.ok(isRevoked);
    assert.deepEqual((await store.leases.volume(uuid))?.revoked, revoked);
    // Each came before or after it, and of what came after nothing was counted or written.
    const given = [first, second].filter((one) => one !== 'key_withheld').length;
    assert.equal((await actions()).filter((action) => action === 'key.release').length, given);
    assert.equal(await deliver({ resetCount: 9, leaseId: lease(3) }), 'key_withheld');
    assert.equal(await store.leases.revoke(uuid, revoked, event), false);
    assert.ok(await store.leases.revoke(uuid, null, madeEvent('volume.restore', owner.name)));
    assert.equal((await store.leases.volume(uuid))?.revoked, null);
    assert.equal(typeof (await deliver({ resetCount: 9, leaseId: lease(3) })), 'object');
    await store.leases.remove(uuid, madeEvent('volume.remove', owner.name));
    assert.equal(await deliver({ resetCount: 10, leaseId: lease(4) }), 'key_withheld');
    assert.equal(await store.leases.revoke(uuid, revoked, event), false);
    const count = (action: string) => actions().then((all) => all.filter((one) => one === action).length);
    assert.deepEqual([await count('volume.revoke'), await count('key.release')], [1, given + 1]);
  });

  it('takes no second volume of the same name, of the same UUID, or at the same path', async () => {
    const event = madeEvent('volume.add', owner.name);
    const [another, elsewhere] = [uuid.replaceAll('1', '9'), { path: '/var/lib/kubelet' }];
    assert.equal(await store.leases.add({ ...volume, ...elsewhere, uuid: another }, event), false);
    assert.equal(await store.leases.add({ ...volume, ...elsewhere, name: 'kubelet' }, event), false);
    assert.equal(await store.leases.add({ ...volume, uuid: another, name: 'kubelet' }, event), false);
    assert.deepEqual((await actions()).filter((action) => action === 'volume.add').length, 1);
  });

  it('gives five deliveries to a boot, however many ask at once, each with its entry (row 419)', async () => {
    const given = await Promise.all(
      Array.from({ length: 10 }, (_, index) => deliver({ leaseId: lease(index) })),
    );
    const counts = given.flatMap((one) => (typeof one === 'string' ? [] : [one.deliveries]));
    assert.deepEqual(counts.toSorted(), [1, 2, 3, 4, 5]);
    assert.deepEqual(
      given.filter((one) => typeof one === 'string'),
      Array(5).fill('lease_exhausted'),
    );
    const leases = new Set(given.flatMap((one) => (typeof one === 'string' ? [] : [one.leaseId])));
    assert.equal(leases.size, 1, 'one lease a boot');
    assert.equal((await actions()).filter((action) => action === 'key.release').length, 5);
  });

  it('decides anew beside a delivery that fails: its lease may have ended meanwhile', async () => {
    const given = await deliver();
    assert(typeof given !== 'string');
    const { leaseId } = given;
    const { ekDigest } = owner;
    const asked = {
      ekDigest,
      volume: uuid,
      resetCount: 7,
      leaseId,
      at: 2000,
      most: 5,
      address: null,
      rotatingSince: null,
    };
    let ended: Promise<boolean> | undefined;
    const beside = deliver();
    const failing = store.leases.deliver(asked, () => {
      ended ??= store.leases.consume({ leaseId, ekDigest, at: 3000 }, madeEvent('key.unlock', owner.name));
      throw new Error('no entry');
    });
    const outcomes = await Promise.allSettled([beside, failing]);
    assert.deepEqual(outcomes, [
      { status: 'fulfilled', value: 'lease_consumed' },
      { status: 'fulfilled', value: 'lease_consumed' },
    ]);
    assert.equal(await ended, true);
    assert.equal((await actions()).filter((action) => action === 'key.release').length, 1);
  });

  it('counts the next boot and another volume by themselves, and gives nothing to another TPM', async () => {
    const other = uuid.replaceAll('1', '9');
    const added = { ...volume, uuid: other, name: 'kubelet', path: '/var/lib/kubelet' };
    assert.ok(await store.leases.add(added, madeEvent('volume.add', owner.name)));
    for (let index = 0; index < 5; index++) await deliver();
    assert.equal(await deliver(), 'lease_exhausted');
    assert.equal(await deliver({ ekDigest: 'ab'.repeat(32) }), 'key_withheld');
    for (const change of [{ resetCount: 8 }, { volume: other }])
      assert.deepEqual(await deliver({ leaseId: lease(2 + Object.keys(change).join().length), ...change }), {
        leaseId: lease(2 + Object.keys(change).join().length),
        deliveries: 1,
        isNewAddress: false,
      });
  });

  it('gives nothing more once the boot is capped, and takes the end of a lease from its TPM alone', async () => {
    const given = await deliver();
    assert(typeof given !== 'string');
    const { leaseId } = given;
    const event = madeEvent('key.unlock', owner.name);
    assert.equal(await store.leases.consume({ leaseId, ekDigest: 'ab'.repeat(32), at: 3000 }, event), false);
    assert.notEqual(typeof (await deliver()), 'string');
    assert.equal(await store.leases.consume({ leaseId, ekDigest: owner.ekDigest, at: 3000 }, event), true);
    assert.equal(await store.leases.consume({ leaseId, ekDigest: owner.ekDigest, at: 3001 }, event), false);
    assert.equal(await deliver(), 'lease_consumed');
    const [shown] = await store.leases.volumes();
    assert.deepEqual([shown?.releasedAt, shown?.cappedAt], [2000, 3000]);
  });

  it('is formatted once, with the header that it keeps, and forgets the passphrase then', async () => {
    const [digest, other] = ['cd'.repeat(32), 'ef'.repeat(32)];
    const formatted = (headerDigest: string) =>
      store.leases.formatted({ uuid, headerDigest, formattedAt: 4000 }, madeEvent('volume.format', 'node-1'));
    const header = madeHeader({ uuid, headerDigest: digest, escrow: Buffer.from('header by age') });
    assert.equal(await formatted(digest), false, 'before a header is kept');
    assert.equal(await store.leases.keepHeader(header), true);
    assert.equal(await formatted(other), false, 'another header');
    assert.equal(await formatted(digest), true);
    assert.equal(await formatted(digest), false, 'a second time');
    assert.equal(await store.leases.keepHeader({ ...header, headerDigest: other }), false);
    const stored = await store.leases.volume(uuid);
    assert.deepEqual([stored?.recovery, stored?.headerDigest, stored?.formattedAt], [null, digest, 4000]);
    assert.deepEqual(
      (await store.leases.escrow(uuid, madeEvent('volume.escrow', owner.name)))?.header,
      header.escrow,
    );
  });

  it('stores the reference of its header once, and replaces none of that name', async () => {
    const enrol = () =>
      store.leases.enrol(uuid, ({ name }) => ({ ...madeEvent('reference.capture', name), actor: 'server' }));
    const kept = madeHeader({ uuid, headerDigest: 'cd'.repeat(32), escrow: Buffer.from('header') });
    const isToEnrol = async () => (await store.leases.volume(uuid))?.isToEnrol;
    assert.deepEqual([await enrol(), await isToEnrol()], [false, false], 'before there is a header');
    await store.leases.keepHeader(kept);
    assert.equal(await isToEnrol(), true);
    assert.deepEqual([await enrol(), await isToEnrol()], [true, false]);
    assert.deepEqual(await store.references.list(), [kept.reference]);
    assert.equal(await enrol(), false);
    const retired = { ...kept.reference, state: 'retired' } as const;
    await store.references.update(retired, madeEvent('reference.retire', retired.name));
    // As one that was formatted by two programs at once.
    await store.leases.keepHeader(kept);
    assert.equal(await enrol(), true);
    assert.deepEqual(await store.references.list(), [retired]);
    assert.equal(await enrol(), false);
  });

  it('keeps 16 boots of a volume and 64 addresses of a TPM, however often it boots, and from wherever', async () => {
    const rows = (table: 'leases' | 'key_addresses') => {
      using file = new DatabaseSync(join(folder, 'state', 'assay.db'), { readOnly: true });
      return file.prepare(`select count(*) as rows from ${table}`).get()?.rows;
    };
    for (let boot = 0; boot < 100; boot++)
      assert.notEqual(
        typeof (await deliver({
          resetCount: boot,
          leaseId: lease(boot),
          at: 2000 + boot,
          address: `10.0.0.${boot}`,
        })),
        'string',
      );
    assert.deepEqual([rows('leases'), rows('key_addresses')], [16, 64]);
    const last = { resetCount: 99, at: 3000 };
    const isNew = async (address: string) => {
      const given = await deliver({ ...last, address });
      return typeof given === 'string' ? given : given.isNewAddress;
    };
    assert.deepEqual(
      [await isNew('10.0.0.99'), await isNew('10.0.0.36'), await isNew('10.0.0.35')],
      [false, false, true],
    );
    assert.equal((await store.leases.volume(uuid))?.releasedAt, 3000);
    await store.leases.remove(uuid, madeEvent('volume.remove', owner.name));
    assert.equal(rows('leases'), 0);
  });

  it('finds the volume of a lease for the TPM that has it, and for no other', async () => {
    const given = await deliver();
    assert(typeof given !== 'string');
    const { leaseId } = given;
    assert.equal((await store.leases.leased({ leaseId, ekDigest: owner.ekDigest }))?.uuid, uuid);
    assert.equal(await store.leases.leased({ leaseId, ekDigest: 'ab'.repeat(32) }), null);
    assert.equal(await store.leases.leased({ leaseId: lease(99), ekDigest: owner.ekDigest }), null);
  });

  it('has its key replaced step by step: each once, in its order, and by a boot that has the next key', async () => {
    const { leases } = store;
    const [first, next] = ['cd'.repeat(32), 'ef'.repeat(32)];
    const rotation = { since: 5000, by: 'token:alice', nextKey: secret('next'), rebound: null };
    const read = async () => (await leases.volume(uuid)) ?? assert.fail();
    const rotate = async (given = rotation) =>
      leases.rotate(await read(), given, madeEvent('volume.rotate', 'node-1'));
    const cancel = () => leases.cancelRotation(uuid, madeEvent('volume.rotate.cancel', 'node-1'));
    const keep = (boot: number) =>
      leases.keepNextHeader(
        {
          ...{ uuid, leaseId: lease(boot), headerDigest: next, escrow: Buffer.from('next header') },
          ...{ recoverySlotDigest: 'dc'.repeat(32), recipients: ['age1of-another'] },
        },
        unchanged,
      );
    const end = (headerDigest: string) =>
      leases.rotated({ uuid, headerDigest }, unchanged, madeEvent('volume.rotate.end', 'node-1'));
    const unchanged = { name: 'none', amend: () => assert.fail() };
    assert.equal(await rotate(), false, 'it is not formatted');
    await leases.keepHeader(madeHeader({ uuid, headerDigest: first, escrow: Buffer.from('header') }));
    await leases.formatted(
      { uuid, headerDigest: first, formattedAt: 4000 },
      madeEvent('volume.format', 'node-1'),
    );
    await deliver({ at: 4500 });
    assert.deepEqual([await cancel(), await keep(1), await end(next)], [false, false, false]);
    assert.deepEqual([await rotate(), await rotate()], [true, false]);
    // Attack, or a mishap: a boot that has the next key of a rotation that was called off makes a header with that.
    assert.equal(await keep(1), false);
    assert.deepEqual([await cancel(), await rotate()], [true, true]);
    // Nor does one get that next key which read the volume before another rotation began: its header would pass for that one's.
    for (const rotatingSince of [4900, null])
      assert.equal(await deliver({ at: 6000, rotatingSince }), 'key_withheld');
    await deliver({ at: 6000, rotatingSince: 5000 });
    assert.equal(await keep(1), false, 'what another run of that boot got is no proof of which key it has');
    await deliver({ at: 6000, rotatingSince: 5000, resetCount: 8, leaseId: lease(2) });
    assert.equal((await read()).recoverySlotDigest, 'ba'.repeat(32));
    {
      // As of a volume that was formatted under schema 31.
      using file = new DatabaseSync(join(folder, 'state', 'assay.db'));
      file.exec('update volumes set recovery_slot_digest = null, header_recipients = null');
    }
    assert.deepEqual([await keep(2), await keep(2)], [true, true]);
    assert.deepEqual([await cancel(), await end(first)], [false, false]);
    const between = await read();
    assert.deepEqual([between.headerDigest, between.rotation?.headerDigest], [first, next]);
    assert.deepEqual(
      (await leases.escrow(uuid, madeEvent('volume.escrow', owner.name)))?.header,
      Buffer.from('header'),
    );
    assert.equal(await end(next), true);
    const { key, nextKey, headerDigest, rotation: over, recoverySlotDigest, recipients } = await read();
    assert.deepEqual(
      [recoverySlotDigest, recipients],
      ['dc'.repeat(32), { passphrase: volume.recipients, header: ['age1of-another'] }],
    );
    assert.deepEqual([key, nextKey, headerDigest, over], [secret('next'), null, next, null]);
    assert.deepEqual(
      (await leases.escrow(uuid, madeEvent('volume.escrow', owner.name)))?.header,
      Buffer.from('next header'),
    );
  });

  it('is bound to another TPM together with its next key, unless that has one of its name', async () => {
    const { leases } = store;
    const headerDigest = 'cd'.repeat(32);
    await leases.keepHeader(madeHeader({ uuid, headerDigest, escrow: Buffer.from('header') }));
    await leases.formatted({ uuid, headerDigest, formattedAt: 4000 }, madeEvent('volume.format', 'node-1'));
    const other = madeNode('node-2', 'another board');
    await store.enrolment.enrol(other, madeEvent('enrol', other.name));
    const rebound = { ekDigest: other.ekDigest, key: secret('wrapped for it') };
    const rotation = { since: 5000, by: 'token:alice', nextKey: secret('next'), rebound };
    const rotate = async () =>
      leases.rotate(
        (await leases.volume(uuid)) ?? assert.fail(),
        rotation,
        madeEvent('volume.rotate', 'node-1'),
      );
    const second = { ...volume, uuid: uuid.replace('1', '2'), ekDigest: other.ekDigest };
    await leases.add(second, madeEvent('volume.add', other.name));
    assert.equal(await rotate(), false);
    await leases.remove(second.uuid, madeEvent('volume.remove', other.name));
    assert.equal(await rotate(), true);
    const found = await leases.volume(uuid);
    assert.deepEqual(
      [found?.ekDigest, found?.key, found?.nextKey],
      [other.ekDigest, rebound.key, secret('next')],
    );
  });

  it('wraps anew only what nobody changed meanwhile', async () => {
    const [earlier] = await store.leases.wrappedByOthers('second', '', 10);
    assert(earlier !== undefined);
    const rewrapped = () => madeEvent('key.rewrap', 'keys');
    const again = { key: secret('again', 'second'), nextKey: null, recovery: secret('again too', 'second') };
    await store.leases.keepHeader(
      madeHeader({ uuid, headerDigest: 'cd'.repeat(32), escrow: Buffer.from('header') }),
    );
    await store.leases.formatted(
      { uuid, headerDigest: 'cd'.repeat(32), formattedAt: 4000 },
      madeEvent('volume.format', 'node-1'),
    );
    assert.equal(
      await store.leases.rewrap([{ read: earlier, by: again }], rewrapped),
      0,
      'its passphrase would come back',
    );
    const [now] = await store.leases.wrappedByOthers('second', '', 10);
    assert(now !== undefined);
    const before = await store.leases.wrappedBy();
    assert.deepEqual([...before.values()], [1]);
    assert.equal((await actions()).includes('key.rewrap'), false);
    assert.equal(await store.leases.rewrap([{ read: now, by: { ...again, recovery: null } }], rewrapped), 1);
    assert.equal((await actions()).at(-1), 'key.rewrap');
    assert.deepEqual([...(await store.leases.wrappedBy())], [['second', 1]]);
    assert.deepEqual(await store.leases.wrappedByOthers('second', '', 10), []);
    assert.deepEqual((await store.leases.volume(uuid))?.key, again.key);
  });

  it('finds an address new where keys of this TPM went elsewhere before, once (row 404)', async () => {
    const isNew = async (address: string | null, change: Partial<Delivery> = {}) => {
      const given = await deliver({ address, ...change });
      return typeof given === 'string' ? given : given.isNewAddress;
    };
    const asked = ['10.0.0.7', '10.0.0.7', null, '192.0.2.9', '192.0.2.9'] as const;
    const found = [];
    for (const address of asked) found.push(await isNew(address));
    assert.deepEqual(found, [false, false, false, true, false]);
    assert.equal(await isNew('2001:db8::1', { resetCount: 8, leaseId: lease(2) }), true);
    assert.equal(await isNew('10.0.0.7', { resetCount: 8 }), false);
  });

  describe('of a boot that got no key', () => {
    const refuse = (change: Partial<RefusedBoot> = {}) =>
      store.leases.refuse(
        {
          ekDigest: owner.ekDigest,
          volume: uuid,
          resetCount: 7,
          code: 'key_withheld',
          text: 'boot not affirmed',
          at: 2000,
          ...change,
        },
        madeEvent('key.refuse', owner.name),
      );
    const kept = async () =>
      (await store.leases.refusals(owner.ekDigest)).map(({ volume: of, code, at }) => [of, code, at]);

    it('keeps the latest reason for each volume, and one for whatever is none of its own (row 403)', async () => {
      await refuse();
      await refuse({ code: 'root_unmeasured', at: 2001 });
      for (let index = 0; index < 20; index++)
        await refuse({ volume: uuid.replaceAll('1', String(2 + (index % 8))), at: 2002 + index });
      assert.deepEqual(await kept(), [
        [uuid, 'root_unmeasured', 2001],
        [uuid.replaceAll('1', '5'), 'key_withheld', 2021],
      ]);
      assert.deepEqual(await store.leases.refusals('ab'.repeat(32)), []);
    });

    it('forgets it with a delivery, with the next boot, with the volume, and with the node', async () => {
      await refuse();
      await deliver();
      assert.deepEqual(await kept(), []);
      await refuse();
      await refuse({ volume: uuid.replaceAll('1', '9'), resetCount: 8, at: 3000 });
      assert.deepEqual(await kept(), [[uuid.replaceAll('1', '9'), 'key_withheld', 3000]]);
      await refuse({ resetCount: 8 });
      await store.leases.remove(uuid, madeEvent('volume.remove', owner.name));
      assert.equal((await kept()).length, 1);
      const gone = { name: owner.name, ekDigest: owner.ekDigest, at: 4000, reason: 'gone' };
      await store.enrolment.revoke(gone, madeEvent('enrol.revoke', owner.name));
      assert.deepEqual(await kept(), []);
    });
  });

  it('removes a volume with its key', async () => {
    const event = madeEvent('volume.remove', owner.name);
    assert.equal(await store.leases.remove(uuid.replaceAll('1', '9'), event), false);
    assert.equal(await store.leases.remove(uuid, event), true);
    assert.equal(await store.leases.volume(uuid), null);
  });
});
