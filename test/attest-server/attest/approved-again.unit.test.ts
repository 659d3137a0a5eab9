import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Attestation } from '../../../attest-server/attest/attestation.ts';
import { StorageFault } from '../../../attest-server/formats/server-fault.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { policyOf } from '../policy/made-proof.ts';
import { madeEvent } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';
import { type MadeMachine, madeMachine, madePorts, verdictOf } from './made-machine.ts';

const minute = 60_000;

describe('a key that a person approves again', () => {
  let store: Store;
  let machine: MadeMachine;
  let attestation: Attestation;
  let now = 0;
  let fault: StorageFault | null = null;

  beforeEach(async () => {
    store = await openMadeStore(':memory:');
    machine = madeMachine('node-1');
    await store.enrolment.enrol(machine.record, madeEvent('enrol', 'node-1'));
    [now, fault] = [0, null];
    const ports = madePorts(store, {
      policy: policyOf('require: [identity]', 'severity: {counter_rollback: warn}'),
      now: () => now,
      monotonic: () => now,
      unknownAfter: 3 * minute,
      storageFault: () => fault,
    });
    attestation = await Attestation.open(ports, null);
  });
  afterEach(() => store[Symbol.asyncDispose]());

  async function isHeldAt(at: number, resetCount: number): Promise<boolean> {
    now = at;
    const { codes } = await verdictOf(attestation.judge(machine.node, machine.answer(at, { resetCount })));
    return codes.includes('counter_rollback');
  }

  it('is approved also while its node is shown as overdue, and that is not stored', async () => {
    assert.equal(await isHeldAt(1 * minute, 8), false);
    assert.equal(await isHeldAt(2 * minute, 7), true);
    fault = new StorageFault('disk_full');
    now = 6 * minute;
    await attestation.sweep();
    assert.equal(attestation.status('node-1')?.state, 'unknown');
    assert.equal((await store.verdicts.status('node-1'))?.state, 'trusted');
    fault = null;
    assert.equal(await attestation.lives.approveAgain('node-1', 'token:admin'), true);
    assert.equal(await isHeldAt(7 * minute, 7), false);
    await attestation.idle();
    assert.equal((await store.verdicts.status('node-1'))?.sequence?.held, null);
  });
});
