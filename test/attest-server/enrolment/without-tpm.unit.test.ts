import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'mocha';
import { MachinesWithoutTpm } from '../../../attest-server/enrolment/without-tpm.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { openMadeStore } from '../store/made-store.ts';

const hour = 60 * 60 * 1000;

describe('machines that say they have no TPM', () => {
  let now: number;
  let absent: RegExp;
  let store: Store;
  let saved: number;
  let machines: MachinesWithoutTpm;
  /** As a server that starts on the store opens it. */
  const open = () =>
    MachinesWithoutTpm.open({
      store: {
        machinesWithoutTpm: () => store.enrolment.machinesWithoutTpm(),
        async saveMachinesWithoutTpm(change) {
          saved += change.changed.length + change.gone.length;
          await store.enrolment.saveMachinesWithoutTpm(change);
        },
      },
      absentBy: (node) => (absent.test(node) ? { group: 'gpu', mode: 'observe', policy: 'p@0' } : null),
      now: () => now,
    });
  beforeEach(async () => {
    now = 0;
    saved = 0;
    absent = /^gpu-/;
    store = await openMadeStore(':memory:');
    machines = await open();
  });
  const names = () => machines.list().map(({ name }) => name);

  it('are listed only where policy says so too', () => {
    assert.deepEqual([machines.note('gpu-1', null), machines.note('node-1', null)], [true, false]);
    assert.deepEqual(machines.list(), [{ name: 'gpu-1', group: 'gpu', mode: 'observe', policy: 'p@0' }]);
  });

  it('are known apart where policy expects a TPM, until they come with one, and in bounded number', () => {
    machines.note('node-1', null);
    machines.note('gpu-1', null);
    machines.note('node-2', null);
    assert.deepEqual(machines.claimed(), ['node-1', 'node-2']);
    machines.forget('node-1');
    absent = /^(gpu-|node-2)/;
    assert.deepEqual(machines.claimed(), []);
    absent = /^gpu-/;
    for (let count = 0; count < 3000; count++) machines.note(`made-up-${count}`, null);
    assert.equal(machines.claimed().length, 1024);
    assert.deepEqual(names(), ['gpu-1']);
    now = 24 * hour + 1;
    assert.deepEqual(machines.claimed(), []);
  });

  it('are as many of one source as a rack, and of those that the cluster vouches for, all', () => {
    for (let count = 0; count < 200; count++) machines.note(`of-cluster-${count}`, null);
    for (let count = 0; count < 200; count++) machines.note(`made-up-${count}`, '192.0.2.1');
    machines.note('node-1', '192.0.2.2');
    machines.note('made-up-199', '192.0.2.1');
    const claimed = machines.claimed();
    const of = (begin: string) => claimed.filter((name) => name.startsWith(begin)).length;
    assert.deepEqual([of('of-cluster-'), of('made-up-'), of('node-')], [200, 64, 1]);
    assert.ok(claimed.includes('made-up-199'));
  });

  it('are gone once policy says so no longer, and after a day of silence', () => {
    machines.note('gpu-1', null);
    machines.note('gpu-2', null);
    absent = /^gpu-2/;
    assert.deepEqual(names(), ['gpu-2']);
    now = 24 * hour + 1;
    assert.deepEqual(names(), []);
  });

  it('take no more memory, however many names somebody makes up', () => {
    for (let count = 0; count < 5000; count++) machines.note(`gpu-${count}`, null);
    assert.equal(names().length, 1024);
    machines.note('gpu-4999', null);
    assert.equal(names().at(-1), 'gpu-4999');
  });

  it('are known again after a restart, and fade by when they were last seen', async () => {
    machines.note('gpu-1', null);
    now = 2 * hour;
    machines.note('gpu-2', null);
    await machines.flush();
    now = 24 * hour + 1;
    machines = await open();
    assert.deepEqual(names(), ['gpu-2']);
    await machines.flush();
    assert.deepEqual(
      (await store.enrolment.machinesWithoutTpm()).map(({ node }) => node),
      ['gpu-2'],
    );
  });

  it('cost the disk a row an hour each, and the table holds no more than the list', async () => {
    for (let minute = 0; minute < 119; minute++) {
      now = minute * 60_000;
      machines.note('gpu-1', null);
      await machines.flush();
    }
    assert.equal(saved, 2);
    for (let count = 0; count < 3000; count++) {
      machines.note(`gpu-x${count}`, null);
      if (count % 500 === 0) await machines.flush();
    }
    await machines.flush();
    assert.equal((await store.enrolment.machinesWithoutTpm()).length, 1024);
  });

  it('are written later where the disk did not take them', async () => {
    machines.note('gpu-1', null);
    const { saveMachinesWithoutTpm } = store.enrolment;
    store.enrolment.saveMachinesWithoutTpm = async () => {
      throw new Error('no room');
    };
    await assert.rejects(machines.flush(), /no room/);
    store.enrolment.saveMachinesWithoutTpm = saveMachinesWithoutTpm;
    await machines.flush();
    assert.deepEqual(await store.enrolment.machinesWithoutTpm(), [{ node: 'gpu-1', seenAt: 0 }]);
  });
});
