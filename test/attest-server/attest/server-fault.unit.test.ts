import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Attestation } from '../../../attest-server/attest/attestation.ts';
import type { HistoryEntry, VerdictStore } from '../../../attest-server/attest/ports.ts';
import { StorageFault } from '../../../attest-server/formats/server-fault.ts';
import { observePolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { madeEvent } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';
import { type MadeMachine, madeMachine, madePorts, verdictOf } from './made-machine.ts';

const minute = 60_000;

describe('a node while the server is at fault', () => {
  let store: Store;
  let machine: MadeMachine;
  let attestation: Attestation;
  let now = 0;
  let fault: StorageFault | null = null;
  let recorded: HistoryEntry[] = [];
  let write: VerdictStore['recordRepeat'];
  let age: VerdictStore['recordAgeing'];

  beforeEach(async () => {
    store = await openMadeStore(':memory:');
    machine = madeMachine('node-1');
    await store.enrolment.enrol(machine.record, madeEvent('enrol', 'node-1'));
    [now, fault, recorded] = [0, null, []];
    write = store.verdicts.recordRepeat;
    age = store.verdicts.recordAgeing;
    const ports = madePorts(store, {
      policy: observePolicy,
      verdicts: {
        ...store.verdicts,
        recordRepeat: (record) => write(record),
        recordAgeing: (record, read) => age(record, read),
      },
      now: () => now,
      monotonic: () => now,
      unknownAfter: 3 * minute,
      recorded: (entry) => recorded.push(entry),
      storageFault: () => fault,
      fault: () => {},
    });
    attestation = await Attestation.open(ports, null);
    await judge(1 * minute);
  });
  afterEach(() => store[Symbol.asyncDispose]());

  const judge = (at: number) => {
    now = at;
    return verdictOf(attestation.judge(machine.node, machine.answer(at))).catch((error: unknown) => {
      attestation.failed('node-1', error);
      throw error;
    });
  };
  const sweep = (at: number) => {
    now = at;
    return attestation.sweep();
  };
  const rows = async () =>
    (await store.verdicts.history('node-1', { limit: 99 })).map(({ verdict }) => verdict.state);

  it('is told no verdict, and is trusted no longer than the one before counts; nothing of it is stored (row 75)', async () => {
    fault = new StorageFault('disk_full');
    await assert.rejects(judge(3 * minute), StorageFault);
    await sweep(3 * minute);
    assert.equal(attestation.status('node-1')?.state, 'trusted');
    assert.equal(attestation.serverFault('node-1'), 'disk_full');
    await sweep(4 * minute + 1);
    assert.equal(attestation.status('node-1')?.state, 'unknown');
    assert.equal((await store.verdicts.status('node-1'))?.state, 'trusted');
    assert.deepEqual([await rows(), recorded.length], [['trusted'], 1]);
  });

  it('is trusted again by its next answer, and its history knows of nothing', async () => {
    fault = new StorageFault('disk_full');
    await assert.rejects(judge(4 * minute));
    await sweep(5 * minute);
    fault = null;
    assert.equal((await judge(6 * minute)).state, 'trusted');
    await attestation.idle();
    assert.deepEqual(
      [attestation.status('node-1')?.state, attestation.serverFault('node-1')],
      ['trusted', null],
    );
    assert.equal((await store.verdicts.status('node-1'))?.verifiedAt, 6 * minute);
    assert.deepEqual(await rows(), ['trusted']);
    await sweep(9 * minute + 1);
    assert.deepEqual(await rows(), ['unknown', 'trusted']);
  });

  it('is unknown since its verdict counts no more, and trusted since as long as before once it is again', async () => {
    fault = new StorageFault('disk_full');
    await assert.rejects(judge(3 * minute));
    await sweep(4 * minute + 1);
    const since = () => attestation.status('node-1')?.since;
    assert.deepEqual([attestation.status('node-1')?.state, since()], ['unknown', 4 * minute]);
    fault = null;
    await judge(6 * minute);
    assert.deepEqual([attestation.status('node-1')?.state, since()], ['trusted', 1 * minute]);
  });

  it('is silent on its own where it does not come, and that is stored once it can be', async () => {
    fault = new StorageFault('disk_full');
    await sweep(5 * minute);
    assert.deepEqual(
      [attestation.status('node-1')?.state, attestation.serverFault('node-1')],
      ['unknown', null],
    );
    assert.deepEqual(await rows(), ['trusted']);
    fault = null;
    await sweep(6 * minute);
    assert.deepEqual(await rows(), ['unknown', 'trusted']);
    assert.equal((await store.verdicts.status('node-1'))?.verdict?.reasons[0]?.code, 'evidence_overdue');
  });

  it('is silent on its own where it came during the fault, and never again', async () => {
    fault = new StorageFault('disk_full');
    await assert.rejects(judge(4 * minute));
    fault = null;
    await sweep(5 * minute);
    assert.deepEqual([attestation.serverFault('node-1'), await rows()], ['disk_full', ['trusted']]);
    await sweep(7 * minute);
    assert.deepEqual([attestation.serverFault('node-1'), await rows()], [null, ['unknown', 'trusted']]);
  });

  it('is at no fault where a batch of equal verdicts is not written', async () => {
    write = () => Promise.reject(new Error('no', { cause: new StorageFault('io_error') }));
    await judge(2 * minute);
    await attestation.idle();
    assert.equal(attestation.serverFault('node-1'), 'io_error');
  });

  it('is at no fault where its own verdict cannot be made', async () => {
    attestation.failed('node-1', new TypeError('x is not a function'));
    assert.equal(attestation.serverFault('node-1'), 'internal');
    await attestation.lives.release('node-1', async () => {});
    assert.equal(attestation.serverFault('node-1'), null);
  });

  it('is remembered of nobody who only claims a name', () => {
    attestation.failed('node-2', new TypeError('x is not a function'));
    assert.equal(attestation.serverFault('node-2'), null);
  });

  it('is not trusted where the store refuses to say that it is overdue; that is tried again, not each second', async () => {
    let attempts = 0;
    age = () => {
      attempts += 1;
      return Promise.reject(new Error('refused'));
    };
    await assert.rejects(sweep(5 * minute), AggregateError);
    assert.equal(attestation.status('node-1')?.state, 'unknown');
    for (let at = 1; at < 50; at += 1) await sweep(5 * minute + at * 1_000);
    assert.equal(attempts, 1);
    age = store.verdicts.recordAgeing;
    await sweep(6 * minute);
    assert.deepEqual(await rows(), ['unknown', 'trusted']);
  });
});
