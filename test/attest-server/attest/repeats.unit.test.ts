import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Attestation } from '../../../attest-server/attest/attestation.ts';
import type { HistoryEntry, VerdictStore } from '../../../attest-server/attest/ports.ts';
import { saysTheSame } from '../../../attest-server/attest/same-verdict.ts';
import { observePolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { madeEvent } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';
import { type MadeMachine, madeMachine, madePorts, verdictOf } from './made-machine.ts';

const minute = 60_000;
const hour = 60 * minute;
const unknownAfter = 3 * minute;

describe('a node whose verdict stays the same', () => {
  let store: Store;
  let machine: MadeMachine;
  let attestation: Attestation;
  let now: number;
  let recorded: HistoryEntry[];
  let faults: unknown[];
  /** What the disk does with repeats. */
  let write: VerdictStore['recordRepeat'];
  /** What happens elsewhere as soon as an answer is appraised. */
  let meanwhile: () => void;

  beforeEach(async () => {
    store = await openMadeStore(':memory:');
    machine = madeMachine('node-1');
    await store.enrolment.enrol(machine.record, madeEvent('enrol', 'node-1'));
    [now, recorded, faults] = [0, [], []];
    write = store.verdicts.recordRepeat;
    meanwhile = () => undefined;
    attestation = await open();
    await judge(1 * minute);
  });
  afterEach(() => store[Symbol.asyncDispose]());

  const open = () => {
    const ports = madePorts(store, {
      policy: observePolicy,
      verdicts: { ...store.verdicts, recordRepeat: (record) => write(record) },
      now: () => now,
      monotonic: () => now,
      unknownAfter,
      // As often as it is judged here.
      challengeEvery: 1,
      summaryEvery: hour,
      recorded: (entry) => recorded.push(entry),
      duration: (stage) => stage === 'appraise' && meanwhile(),
      fault: (error) => faults.push(error),
    });
    return Attestation.open(ports, null);
  };
  const judge = (at: number, change: Parameters<MadeMachine['answer']>[1] = {}) => {
    now = at;
    return verdictOf(attestation.judge(machine.node, machine.answer(at, change)));
  };
  const history = () => store.verdicts.history('node-1', { limit: 1_000 });
  const actions = async () =>
    (await store.audit.entries({ limit: 1_000 })).slice(1).map(({ action }) => action);

  it('is told at once, and its status moves without a row or an audit entry', async () => {
    assert.equal((await judge(2 * minute)).state, 'trusted');
    const shown = attestation.status('node-1');
    assert.deepEqual([shown?.verifiedAt, shown?.expiresAt], [2 * minute, 5 * minute]);
    assert.equal((await store.verdicts.status('node-1'))?.verifiedAt, 1 * minute);
    await attestation.idle();
    assert.deepEqual(await store.verdicts.status('node-1'), attestation.status('node-1'));
    assert.deepEqual([(await history()).length, await actions()], [1, ['verdict']]);
    assert.deepEqual(
      recorded.map(({ at, transition }) => [at, transition]),
      [
        [1 * minute, true],
        [2 * minute, false],
      ],
    );
    assert.notEqual(await store.evidence.read(shown?.evidenceDigest ?? '', 'node-1'), null);
  });

  for (const [what, change] of [
    ['the TPM was reset', { resetCount: 8 }],
    ['the TPM was restarted', { restartCount: 2 }],
    ['another kernel runs', { occasion: { bootId: '6f9619ff-8b86-d011-b42d-00cf4fc964fe' } }],
    ['the counters went back', { resetCount: 6 }],
    ['the TPM has other firmware', { firmwareVersion: 2n }],
  ] as const)
    it(`has a row and an entry where ${what}`, async () => {
      await judge(2 * minute, change);
      const rows = await history();
      assert.deepEqual([rows.length, (await actions()).length], [2, 2]);
      assert.equal((await store.verdicts.status('node-1'))?.verifiedAt, 2 * minute);
    });

  it('has one row and one entry an hour, which say how many verdicts there were, also over a restart', async () => {
    for (let at = 2; at <= 125; at += 1) {
      await judge(at * minute);
      await store.verdicts.settled();
      if (at === 90) attestation = await open();
    }
    const rows = (await history()).map(({ at, repeats, since, transition }) => ({
      at: at / minute,
      repeats,
      since: since / minute,
      transition,
    }));
    assert.deepEqual(rows, [
      { at: 121, repeats: 59, since: 61, transition: false },
      { at: 61, repeats: 59, since: 1, transition: false },
      { at: 1, repeats: 0, since: 1, transition: true },
    ]);
    const summaries = (await store.audit.entries({ limit: 100 })).filter(
      ({ action }) => action === 'verdict.repeat',
    );
    assert.deepEqual(
      summaries.map(({ detail }) => [detail.count, detail.since]),
      [
        [60, 1 * minute],
        [60, 61 * minute],
      ],
    );
    for (const { evidenceDigest } of await history())
      assert.notEqual(await store.evidence.read(evidenceDigest ?? '', 'node-1'), null);
    assert.equal(attestation.status('node-1')?.repeats, 4);
  });

  it('names evidence that stays kept while that of equal verdicts gives way to the next', async () => {
    const first = attestation.status('node-1');
    for (let at = 2; at <= 4; at += 1) {
      await judge(at * minute);
      await store.verdicts.settled();
    }
    const shown = attestation.status('node-1');
    assert.equal(shown?.recordedEvidence, first?.evidenceDigest);
    assert.notEqual(shown?.evidenceDigest, shown?.recordedEvidence);
    assert.notEqual(await store.evidence.read(shown?.recordedEvidence ?? '', 'node-1'), null);
    attestation = await open();
    assert.equal(attestation.status('node-1')?.recordedEvidence, first?.evidenceDigest);
  });

  it('is found by the first digits of its evidence, written or latest', async () => {
    await judge(2 * minute);
    await store.verdicts.settled();
    const { evidenceDigest, recordedEvidence } = attestation.status('node-1') ?? {};
    for (const digest of [evidenceDigest ?? '', recordedEvidence ?? ''])
      assert.deepEqual(await store.evidence.named('node-1', digest.slice(0, 12)), [digest]);
    assert.deepEqual(await store.evidence.named('node-2', evidenceDigest?.slice(0, 12) ?? ''), []);
    assert.equal((await store.evidence.named('node-1', '')).length, 2);
  });

  it('leaves the state since when it is, also over a restart and an hour, until another one comes', async () => {
    const since = () => attestation.status('node-1')?.since;
    for (const at of [2 * minute, 30 * minute, 62 * minute]) await judge(at);
    assert.equal(since(), 1 * minute);
    await attestation.idle();
    attestation = await open();
    assert.equal(since(), 1 * minute);
    now = 70 * minute;
    await attestation.sweep();
    assert.deepEqual([attestation.status('node-1')?.state, since()], ['unknown', 70 * minute]);
    assert.equal((await store.verdicts.status('node-1'))?.since, 70 * minute);
    const [latest] = await store.verdicts.transitions('node-1', 1);
    assert.deepEqual([latest?.at, latest?.verdict.state], [70 * minute, 'unknown']);
  });

  it('is news where another reference speaks for the same boot', async () => {
    const status = attestation.status('node-1');
    assert.ok(status?.verdict);
    const { verdict } = status;
    const like = (...references: string[]): typeof status => ({
      ...status,
      verdict: { ...verdict, aspects: { boot: { status: 'affirming', source: 'tpm', references } } },
    });
    assert.equal(saysTheSame(like('a'), like('a')), true);
    assert.equal(saysTheSame(like('a'), like('b')), false);
    assert.equal(saysTheSame(like('a'), like('a', 'b')), false);
  });

  it('is known by its last equal verdict where it is not trusted any more', async () => {
    await judge(2 * minute);
    assert.equal((await judge(3 * minute, { resetCount: 6 })).state, 'untrusted');
    await judge(4 * minute, { resetCount: 6 });
    await attestation.idle();
    assert.equal((await store.verdicts.status('node-1'))?.trustedAt, 2 * minute);
    assert.equal(attestation.status('node-1')?.trustedAt, 2 * minute);
  });

  it('does not wait for its row until a clock that was set back comes to that moment again', async () => {
    await judge(0);
    assert.equal((await history()).length, 2);
  });

  it('is overdue like any other, and the row that says so keeps what it rests on', async () => {
    await judge(2 * minute);
    now = 6 * minute;
    await attestation.sweep();
    const [row] = await history();
    assert.deepEqual([row?.verdict.state, row?.transition], ['unknown', true]);
    await judge(7 * minute);
    await judge(8 * minute);
    await attestation.idle();
    assert.notEqual(await store.evidence.read(row?.evidenceDigest ?? '', 'node-1'), null);
  });

  it('falls back to what is on disk where a batch fails, and is trusted no longer than that', async () => {
    write = () => Promise.reject(new Error('the disk is full'));
    assert.equal((await judge(2 * minute)).state, 'trusted');
    await attestation.idle();
    assert.equal(faults.length, 1);
    const shown = attestation.status('node-1');
    assert.deepEqual([shown?.verifiedAt, shown?.expiresAt], [1 * minute, 4 * minute]);
    assert.equal((await store.verdicts.status('node-1'))?.expiresAt, 4 * minute);
    now = 4 * minute + 1;
    await attestation.sweep();
    assert.equal(attestation.status('node-1')?.state, 'unknown');
  });

  it('falls back to the evidence and the parts that are on disk where a batch fails', async () => {
    const before = attestation.status('node-1');
    write = () => Promise.reject(new Error('the disk is full'));
    await judge(2 * minute, { userSpace: Buffer.from('a log that nobody keeps') });
    await attestation.idle();
    assert.deepEqual(attestation.status('node-1')?.parts, before?.parts);
    now = 5 * minute;
    await attestation.sweep();
    const [lapse] = await history();
    assert.deepEqual([lapse?.verdict.state, lapse?.evidenceDigest], ['unknown', before?.evidenceDigest]);
  });

  it('falls back to the last answer that was written, and forward to the next', async () => {
    await judge(2 * minute);
    await store.verdicts.settled();
    const outcomes: PromiseWithResolvers<void>[] = [];
    write = () => {
      const outcome = Promise.withResolvers<void>();
      outcomes.push(outcome);
      return outcome.promise;
    };
    await judge(3 * minute);
    await judge(4 * minute);
    const shown = () => attestation.status('node-1')?.verifiedAt;
    assert.equal(shown(), 4 * minute);
    outcomes[0]?.reject(new Error('the disk is full'));
    await attestation.idle();
    assert.equal(shown(), 2 * minute);
    outcomes[1]?.resolve();
    await attestation.idle();
    assert.equal(shown(), 4 * minute);
  });

  it('falls back past an answer whose batch failed while the next one was judged', async () => {
    const other = { resetCount: 6 };
    await judge(2 * minute, other);
    const outcomes: PromiseWithResolvers<void>[] = [];
    write = () => {
      const outcome = Promise.withResolvers<void>();
      outcomes.push(outcome);
      return outcome.promise;
    };
    await judge(3 * minute, other);
    meanwhile = () => outcomes[0]?.reject(new Error('the disk is full'));
    await judge(4 * minute, other);
    outcomes[1]?.reject(new Error('the disk is full'));
    await attestation.idle();
    assert.equal(faults.length, 2);
    const { verifiedAt, evidenceDigest } = attestation.status('node-1') ?? {};
    const stored = await store.verdicts.status('node-1');
    assert.deepEqual([verifiedAt, evidenceDigest], [2 * minute, stored?.evidenceDigest]);
  });

  it('keeps a change that came after an answer which is not written', async () => {
    const outcome = Promise.withResolvers<void>();
    write = () => outcome.promise;
    await judge(2 * minute);
    await judge(3 * minute, { resetCount: 8 });
    outcome.reject(new Error('the disk is full'));
    await attestation.idle();
    assert.equal(attestation.status('node-1')?.verifiedAt, 3 * minute);
  });

  it('takes nothing of its share of the disk, but for what stays of it', async () => {
    for (let at = 0; at < 1_200; at += 1) await judge(2 * minute + at);
    const log = () => randomBytes(48 * 1024);
    await assert.rejects(
      async () => {
        for (let at = 0; at < 200; at += 1) await judge(2 * minute + 1_200 + at, { userSpace: log() });
      },
      { code: 'too_large' },
    );
  });
});
