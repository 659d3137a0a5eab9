import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { Attestation } from '../../../attest-server/attest/attestation.ts';
import type { AttestPorts } from '../../../attest-server/attest/ports.ts';
import { chainEntry } from '../../../attest-server/audit/chain.ts';
import { DiskBudget } from '../../../attest-server/evidence/disk-budget.ts';
import { Packer } from '../../../attest-server/evidence/pack.ts';
import { observePolicy, strictPolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import type { NodeState, Verdict } from '../../../attest-server/protocol/verdict.ts';
import { beat, readLastAlive } from '../../../attest-server/state/alive.ts';
import { openStore, type Store } from '../../../attest-server/store/open.ts';
import { madeEvent } from '../store/made-records.ts';

const unknownAfter = 180_000;
const evidence = { packer: new Packer(), budget: new DiskBudget(60_000) };
const verdict = (state: NodeState): Verdict => ({
  ...{ state, reasons: [], aspects: { identity: { status: 'affirming', source: 'tpm' } } },
  ...{ group: 'default', require: ['identity'], mode: 'enforce', policy: 'strict@000000000000' },
});

/** A store with node-1, judged at time 0. */
async function judged(state: NodeState): Promise<Store> {
  const store = await openStore(':memory:', { chain: chainEntry });
  const ekDigest = 'a'.repeat(64);
  await store.enrolment.enrol(
    {
      ...{ ekDigest, name: 'node-1', bound: 'pin', ekPublicArea: Buffer.of(1), ekCertificate: null },
      ...{ akPublicArea: Buffer.of(2), akName: '000b', manufacturer: null, enrolledAt: 0 },
      ...{ tpmClass: 'unknown', endorsedBy: null, banks: null },
    },
    madeEvent('enrol', 'node-1'),
  );
  await store.verdicts.recordChange({
    status: {
      ...{ name: 'node-1', ekDigest, state, verdict: verdict(state), verifiedAt: 0, expiresAt: unknownAfter },
      ...{
        bootedAt: 0,
        resetCount: 1,
        restartCount: 0,
        clock: 1n,
        firmwareVersion: null,
        bootId: null,
        sequence: null,
      },
      kernel: null,
      systemUuid: null,
      parts: {},
      memory: {},
      evidenceDigest: null,
      recordedAt: 0,
      repeats: 0,
    },
    ...{ at: 0, evidence: [], audit: [] },
    history: [
      { at: 0, verdict: verdict(state), evidenceDigest: null, transition: true, repeats: 0, since: 0 },
    ],
  });
  return store;
}

function portsOf({ verdicts, evidence, references, enrolment }: Store, now: () => number): AttestPorts {
  return {
    verdicts,
    evidence,
    references,
    enrolment,
    now,
    unknownAfter,
    duration: () => {},
    recorded: () => {},
    fault: (error) => assert.fail(String(error)),
  };
}

/** The state that a server shows which starts at `now` and sweeps once. */
async function stateAfterStart(store: Store, now: number, lastAlive: number | null): Promise<string> {
  const ports = { store, evidence, now: () => now, unknownAfter, duration: () => {}, recorded: () => {} };
  const attestation = await Attestation.open(ports, strictPolicy, lastAlive);
=======
  const attestation = await Attestation.open(
    portsOf(store, () => now),
    strictPolicy,
    lastAlive,
  );
>>>>>>> store
  await attestation.sweep();
  return attestation.status('node-1')?.state ?? 'gone';
}

describe('a server that starts again', () => {
  it('extends the deadline by the time in which it was down, and by no more', async () => {
    const store = await judged('trusted');
    // Judged at 0, down from 100 s to 1000 s: the deadline of 180 s became 1080 s.
    assert.equal(await stateAfterStart(store, 1_000_000, 100_000), 'trusted');
    assert.equal(await stateAfterStart(await judged('trusted'), 1_081_000, 901_000), 'unknown');
  });

  it('trusts nobody longer for starting again and again', async () => {
    const store = await judged('trusted');
    for (const now of [60_000, 120_000, 179_000])
      assert.equal(await stateAfterStart(store, now, now - 100), 'trusted');
    assert.equal(await stateAfterStart(store, 181_000, 180_900), 'unknown');
  });

  it('extends nothing where nobody knows when a server last ran', async () => {
    assert.equal(await stateAfterStart(await judged('trusted'), unknownAfter + 1, null), 'unknown');
  });

  it('trusts nobody longer because its clock was set back', async () => {
    const store = await judged('trusted');
    let [now, monotonic] = [1_000, 0];
    const ports = {
      ...{ store, evidence, unknownAfter, duration() {}, recorded() {} },
      now: () => now,
      monotonic: () => monotonic,
    };
=======
    const ports = { ...portsOf(store, () => now), monotonic: () => monotonic };
    const attestation = await Attestation.open(ports, strictPolicy, null);
>>>>>>> evidence
    const stateAt = async () => {
      await attestation.sweep();
      return attestation.status('node-1')?.state;
    };
    [now, monotonic] = [-3_600_000, unknownAfter - 1_001];
    assert.equal(await stateAt(), 'trusted');
    monotonic += 2;
    assert.equal(await stateAt(), 'unknown');
  });

  it('leaves an untrusted node untrusted, however long it is silent (row 64)', async () => {
    assert.equal(await stateAfterStart(await judged('untrusted'), 10 * unknownAfter, null), 'untrusted');
  });
});

describe('a policy that is read again', () => {
  it('stays in force where references change in the same moment', async () => {
    const store = await judged('trusted');
<<<<<<< HEAD
    const ports = { store, evidence, now: () => 0, unknownAfter, duration: () => {}, recorded: () => {} };
    const attestation = await Attestation.open(ports, strictPolicy, null);
=======
    const attestation = await Attestation.open(
      portsOf(store, () => 0),
      strictPolicy,
      null,
    );
    await Promise.all([attestation.reload(observePolicy), attestation.reload()]);
    assert.equal(attestation.policy, observePolicy);
    await Promise.all([attestation.reload(), attestation.reload(strictPolicy)]);
    assert.equal(attestation.policy, strictPolicy);
  });
});

describe('the heartbeat of a server', () => {
  it('tells when a server last ran on a state folder', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'assay-alive-'));
    try {
      assert.equal(await readLastAlive(dir), null);
      await beat(dir, 1_000);
      await beat(dir, 5_000);
      assert.equal(await readLastAlive(dir), 5_000);
      await utimes(join(dir, 'alive'), 7, 7);
      assert.equal(await readLastAlive(dir), 7_000);
    } finally {
      await rm(dir, { recursive: true });
    }
  });
});
>>>>>>> evidence
