import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Attestation } from '../../../attest-server/attest/attestation.ts';
import type { OpenedGate } from '../../../attest-server/attest/ports.ts';
import type { Policy } from '../../../attest-server/policy/policy.ts';
import { observePolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import type { Role } from '../../../attest-server/wire/roles.ts';
import { bootPolicy } from '../boot-policy.ts';
import { madeEvent } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';
import { type MadeMachine, madeMachine, madePorts, verdictOf } from './made-machine.ts';

const minute = 60_000;
const unknownAfter = 3 * minute;

describe('a gate that answers', () => {
  let store: Store;
  let machine: MadeMachine;
  let attestation: Attestation;
  let now: number;
  let openings: OpenedGate[];

  beforeEach(async () => {
    store = await openMadeStore(':memory:');
    machine = madeMachine('node-1');
    await store.enrolment.enrol(machine.record, madeEvent('enrol', 'node-1'));
    [now, openings] = [0, []];
  });
  afterEach(() => store[Symbol.asyncDispose]());

  const open = async (policy: Policy) => {
    attestation = await Attestation.open(
      madePorts(store, {
        policy,
        now: () => now,
        monotonic: () => now,
        unknownAfter,
        gateOpened: (opened) => openings.push(opened),
      }),
      null,
    );
  };
  const judge = (by: Role, at: number, change: Parameters<MadeMachine['answer']>[1] = {}) => {
    now = at;
    return verdictOf(attestation.judge(machine.node, { ...machine.answer(at, change), by }));
  };
  const status = () => attestation.status('node-1');
  const history = async () =>
    (await store.verdicts.history('node-1', { limit: 100 })).map(({ verdict }) => verdict.state).toReversed();

  it('keeps a node pending for as long as it answers, in one row, and no longer', async () => {
    await open(bootPolicy);
    for (let at = minute; at <= 10 * minute; at += minute) {
      const { state, gate } = await judge('gate', at);
      assert.deepEqual([state, gate?.proven], ['pending', false]);
      await attestation.sweep();
      assert.equal(status()?.state, 'pending');
    }
    assert.deepEqual(await history(), ['pending']);
    now = 14 * minute;
    await attestation.sweep();
    assert.equal(status()?.state, 'unknown');
    assert.deepEqual(openings, []);
  });

  it('makes nobody trusted, and whom the agent made trusted for no longer', async () => {
    await open(observePolicy);
    assert.equal((await judge('gate', minute)).state, 'pending');
    assert.equal((await judge('agent', 2 * minute)).state, 'trusted');
    const before = status();
    const { gate } = await judge('gate', 4 * minute);
    assert.equal(gate?.mode, 'observe');
    assert.deepEqual(status(), before);
    now = 5 * minute + 1;
    await attestation.sweep();
    assert.equal(status()?.state, 'unknown', 'the agent is silent');
    assert.deepEqual(await history(), ['pending', 'trusted', 'unknown']);
  });

  it('tells of a boot that its node is only observed, with nothing that was shown', async () => {
    await open(observePolicy);
    await judge('gate', minute);
    const [{ why, boot, evidence } = {}] = openings;
    assert.deepEqual([why, boot, evidence], ['observe', '7.1', null]);
  });

  it('is the first to tell of a reboot, which ends that the node is trusted where the boot is required', async () => {
    await open(bootPolicy);
    await judge('gate', minute);
    const occasion = { bootId: 'b'.repeat(36) };
    await judge('gate', 2 * minute, { resetCount: 8, occasion });
    assert.deepEqual(await history(), ['pending', 'pending', 'pending']);
    const reasons = (await store.verdicts.history('node-1', { limit: 100 })).map(
      ({ verdict }) => verdict.reasons[0]?.code,
    );
    assert.deepEqual(reasons.toReversed(), ['no_reference', 'rebooted', 'no_reference']);
    assert.equal(status()?.resetCount, 8);
  });

  it('is held like an agent where the counters of its TPM went back', async () => {
    await open(bootPolicy);
    await judge('agent', minute);
    const { state, codes, gate } = await judge('gate', 2 * minute, { resetCount: 6 });
    assert.deepEqual([state, codes[0]], ['untrusted', 'counter_rollback']);
    assert.equal(gate?.proven, false);
    assert.equal((await judge('agent', 3 * minute)).state, 'untrusted');
  });
});
