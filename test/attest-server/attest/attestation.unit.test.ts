import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import type { Answer } from '../../../attest-server/attest/answer.ts';
import { Attestation } from '../../../attest-server/attest/attestation.ts';
import type { AttestPorts } from '../../../attest-server/attest/ports.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import type { NodeState, Verdict } from '../../../attest-server/wire/verdict.ts';
import { madeEvent } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';
import { madeMachine, madePorts } from './made-machine.ts';

const unknownAfter = 180_000;
const verdict = (state: NodeState): Verdict => ({
  state,
  reasons: [],
  aspects: { identity: { status: 'affirming', source: 'tpm' } },
  group: 'default',
  require: ['identity'],
  mode: 'enforce',
  policy: 'strict@000000000000',
});

/** A store with node-1, judged at time 0. */
async function judged(state: NodeState): Promise<Store> {
  const store = await openMadeStore(':memory:');
  const ekDigest = 'a'.repeat(64);
  await store.enrolment.enrol(
    {
      ekDigest,
      keyDigest: ekDigest,
      name: 'node-1',
      bound: 'pin',
      ekPublicArea: Buffer.of(1),
      ekCertificate: null,
      akPublicArea: Buffer.of(2),
      akName: '000b',
      manufacturer: null,
      enrolledAt: 0,
      enrolledBy: null,
      tpmClass: 'unknown',
      endorsedBy: null,
      banks: null,
    },
    madeEvent('enrol', 'node-1'),
  );
  await store.verdicts.recordChange({
    status: {
      name: 'node-1',
      ekDigest,
      state,
      verdict: verdict(state),
      verifiedAt: 0,
      expiresAt: unknownAfter,
      trustedAt: null,
      bootSeenAt: 0,
      bootedAfter: null,
      bootedAt: null,
      resetCount: 1,
      restartCount: 0,
      clock: 1n,
      firmwareVersion: null,
      bootId: null,
      sequence: null,
      kernel: null,
      systemUuid: null,
      parts: {},
      memory: {},
      evidenceDigest: null,
      recordedAt: 0,
      recordedEvidence: null,
      repeats: 0,
      trustedBy: null,
      since: null,
    },
    at: 0,
    evidence: [],
    audit: [],
    history: [
      { at: 0, verdict: verdict(state), evidenceDigest: null, transition: true, repeats: 0, since: 0 },
    ],
  });
  return store;
}

/** The state that a server shows which starts at `now` and sweeps once. */
async function stateAfterStart(store: Store, now: number, lastAlive: number | null): Promise<string> {
  const attestation = await Attestation.open(madePorts(store, { now: () => now, unknownAfter }), lastAlive);
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
    const ports = madePorts(store, { now: () => now, monotonic: () => monotonic, unknownAfter });
    const attestation = await Attestation.open(ports, null);
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

describe('a node that falls silent', () => {
  it('is counted as a change of state, and as no evidence that was answered', async () => {
    const answered: unknown[] = [];
    const recorded: unknown[] = [];
    const attestation = await Attestation.open(
      madePorts(await judged('trusted'), {
        now: () => unknownAfter + 1,
        unknownAfter,
        answered: (verdict) => answered.push(verdict),
        recorded: ({ verdict }, from) => recorded.push([from, verdict.state]),
      }),
      null,
    );
    await attestation.sweep();
    assert.deepEqual([answered, recorded], [[], [['trusted', 'unknown']]]);
  });

  it('is known by when it was last trusted, also after a restart', async () => {
    const store = await judged('trusted');
    assert.equal((await store.verdicts.status('node-1'))?.trustedAt, null);
    await stateAfterStart(store, unknownAfter + 1, null);
    const after = await Attestation.open(madePorts(store, { unknownAfter }), null);
    assert.deepEqual([after.status('node-1')?.state, after.status('node-1')?.trustedAt], ['unknown', 0]);
  });
});

describe('a server beside another one on the same store (row 127)', () => {
  for (const [state, verifiedAt] of [
    ['untrusted', 0],
    ['untrusted', unknownAfter],
    ['trusted', unknownAfter],
  ] as const)
    it(`ages only over the row that it read: ${state}, written at ${verifiedAt} by the other one, stays and is shown`, async () => {
      const store = await judged('trusted');
      const ports = madePorts(store, { now: () => unknownAfter + 1, unknownAfter });
      const attestation = await Attestation.open(ports, null);
      const read = (await store.verdicts.status('node-1')) ?? assert.fail();
      const expiresAt = verifiedAt + unknownAfter;
      const status = { ...read, state, verdict: verdict(state), verifiedAt, expiresAt };
      await store.verdicts.recordChange({ status, at: 0, evidence: [], audit: [], history: [] });
      const entries = await store.audit.entries({ limit: 10 });
      await attestation.sweep();
      for (const shown of [await store.verdicts.status('node-1'), attestation.status('node-1')])
        assert.deepEqual([shown?.state, shown?.verifiedAt], [state, verifiedAt]);
      assert.deepEqual(await store.audit.entries({ limit: 10 }), entries);
    });

  it('ages over the row that it read', async () => {
    const store = await judged('trusted');
    assert.equal(await stateAfterStart(store, unknownAfter + 1, null), 'unknown');
    assert.equal((await store.verdicts.status('node-1'))?.state, 'unknown');
  });
});

describe('a part that a node only names', () => {
  const part = Buffer.from('a log that grew');
  const digest = hash('sha256', part, 'hex');
  const minute = 60_000;

  /** A node that sent the part, and a server that was started again since. */
  async function sentBefore(readPart: AttestPorts['evidence']['readPart']) {
    const store = await openMadeStore(':memory:');
    const machine = madeMachine('node-1');
    await store.enrolment.enrol(machine.record, madeEvent('enrol', 'node-1'));
    const ports = madePorts(store, { now: () => minute });
    const before = await Attestation.open(ports, null);
    await before.judge(machine.node, machine.answer(minute, { userSpace: part }));
    await before.idle();
    const attestation = await Attestation.open(
      { ...ports, now: () => 2 * minute, evidence: { ...ports.evidence, readPart } },
      null,
    );
    const answer = machine.answer(2 * minute, { userSpace: part });
    const naming: Answer = { ...answer, parts: { userSpace: { digest, bytes: null } } };
    return { machine, attestation, naming };
  }

  it('is asked for again where its bytes are gone', async () => {
    const { machine, attestation, naming } = await sentBefore(async () => null);
    assert.deepEqual(attestation.heldParts('node-1'), { userSpace: digest });
    await assert.rejects(attestation.judge(machine.node, naming), { code: 'malformed' });
    assert.deepEqual(attestation.heldParts('node-1'), {});
    assert.deepEqual(attestation.status('node-1')?.parts, { userSpace: digest });
    await attestation.judge(machine.node, machine.answer(2 * minute, { userSpace: part }));
  });

  it('is kept with what rests on it, also where it was remembered and kept no longer', async () => {
    const store = await openMadeStore(':memory:');
    const machine = madeMachine('node-1');
    await store.enrolment.enrol(machine.record, madeEvent('enrol', 'node-1'));
    const ports = madePorts(store, { now: () => minute });
    const evidence = { ...ports.evidence, readPart: async () => part };
    const attestation = await Attestation.open({ ...ports, evidence }, null);
    const answer = machine.answer(minute, { userSpace: part });
    await attestation.judge(machine.node, { ...answer, parts: { userSpace: { digest, bytes: null } } });
    assert.deepEqual(await store.evidence.read(digest), part);
  });
});

describe('a long list of what ran', () => {
  it('is written piece by piece before what names it', async () => {
    const store = await openMadeStore(':memory:');
    const machine = madeMachine('node-1');
    await store.enrolment.enrol(machine.record, madeEvent('enrol', 'node-1'));
    const written: string[] = [];
    const verdicts: AttestPorts['verdicts'] = {
      ...store.verdicts,
      async keepShared(blob, ekDigest, at) {
        await store.verdicts.keepShared(blob, ekDigest, at);
        written.push(blob.digest);
      },
      async recordChange(record) {
        await store.verdicts.recordChange(record);
        written.push('verdict');
      },
    };
    const attestation = await Attestation.open({ ...madePorts(store), verdicts }, null);
    const pieces = ['a', 'b', 'c'].map((text) => Buffer.alloc(limits.ima.piece, text));
    const asked = { of: [], from: 0, bootId: null };
    const supplements = { ima: { asked, came: { from: 0, more: false, pieces } } };
    await attestation.judge(machine.node, { ...machine.answer(1), supplements });
    assert.deepEqual(written, [...pieces.map((piece) => hash('sha256', piece, 'hex')), 'verdict']);
    for (const piece of pieces)
      assert.deepEqual(await store.evidence.readShared(hash('sha256', piece, 'hex'), 'node-1'), piece);
  });
});
