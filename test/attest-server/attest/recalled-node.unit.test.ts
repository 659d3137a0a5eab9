import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Attestation } from '../../../attest-server/attest/attestation.ts';
import { keptContext } from '../../../attest-server/evidence/pack.ts';
import { InForce } from '../../../attest-server/in-force/in-force.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { policyOf } from '../policy/made-proof.ts';
import { madeEvent } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';
import { type MadeMachine, madeMachine, madePorts, verdictOf } from './made-machine.ts';

const minute = 60_000;

describe('a node whose record is archived, and which comes back', () => {
  let store: Store;
  let machine: MadeMachine;
  let attestation: Attestation;
  let now = 0;
  /** What is shown of it while its answers are judged. */
  let shown: (string | undefined)[] = [];

  beforeEach(async () => {
    store = await openMadeStore(':memory:');
    machine = madeMachine('node-1');
    await store.enrolment.enrol(machine.record, madeEvent('enrol', 'node-1'));
    [now, shown] = [0, []];
    const inForce = new InForce(policyOf('require: [identity]'), [], keptContext);
    const ports = madePorts(store, {
      now: () => now,
      monotonic: () => now,
      unknownAfter: 3 * minute,
      presence: { isAway: () => true, recalled: () => {} },
      labelsOf: () => {
        shown.push(attestation.status('node-1')?.state);
        return {};
      },
      inForce: () => inForce,
    });
    attestation = await Attestation.open(ports, null);
  });
  afterEach(() => store[Symbol.asyncDispose]());

  async function judge(at: number): Promise<string> {
    now = at;
    return (await verdictOf(attestation.judge(machine.node, machine.answer(at)))).state;
  }

  it('is not shown as trusted by what it proved long ago, while it is judged', async () => {
    assert.equal(await judge(minute), 'trusted');
    now = 9 * minute;
    await attestation.sweep();
    assert.equal(attestation.status('node-1')?.state, 'unknown');
    const { ekDigest } = machine.record;
    const event = madeEvent('node.archive', 'nodes');
    await attestation.lives.archive(['node-1'], async () => {
      await store.presence.noteNodes([ekDigest]);
      await store.presence.leave([{ ekDigest, missingSince: now, goneAt: now, audit: event }]);
      await store.presence.archive([ekDigest], now, event, () => event);
      return ['node-1'];
    });
    shown = [];
    assert.equal(await judge(99 * minute), 'trusted');
    assert.deepEqual([...new Set(shown)], ['unknown']);
    assert.equal(attestation.status('node-1')?.verifiedAt, 99 * minute);
  });
});
