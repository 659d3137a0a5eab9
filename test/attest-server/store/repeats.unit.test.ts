import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { eraseOldEvidence } from '../../../attest-server/evidence/retention.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { madeBlob, madeEvent, madeNode, madeRecord, madeRepeat, madeVerdict } from './made-records.ts';
import { openMadeStore } from './made-store.ts';

const one = madeNode('node-1');
const two = madeNode('node-2');
const day = 86_400_000;

describe('a verdict that is the one before', () => {
  let store: Store;
  beforeEach(async () => {
    store = await openMadeStore(':memory:');
    for (const node of [one, two]) {
      await store.enrolment.enrol(node, madeEvent('enrol', node.name));
      await store.verdicts.recordChange(madeRecord(node, 2_000));
    }
  });
  afterEach(() => store[Symbol.asyncDispose]());

  const verifiedAt = async (name = 'node-1') => (await store.verdicts.status(name))?.verifiedAt;
  const isKept = async (digest: string, name = 'node-1') =>
    (await store.evidence.read(digest, name)) !== null;
  const rows = async () => [
    (await store.verdicts.history('node-1', { limit: 100 })).length,
    (await store.audit.entries({ limit: 100 })).length,
  ];

  it('moves the status, keeps its evidence, and adds neither row nor audit entry', async () => {
    const before = await rows();
    const shown = { kernel: '6.12.1', memory: { host: { seen: ['6.12.0', '6.12.1'] } } };
    const repeat = { ...madeRepeat(one, 3_000, 4), ...shown };
    await store.verdicts.recordRepeat(repeat);
    const status = await store.verdicts.status('node-1');
    const { evidence, ...moved } = repeat;
    assert.deepEqual(status, {
      ...moved,
      state: 'trusted',
      verdict: madeVerdict('trusted'),
      trustedAt: null,
      bootSeenAt: 2_000,
      bootedAfter: -58_000,
      bootedAt: -28_000,
      recordedAt: 2_000,
      since: 2_000,
    });
    assert.deepEqual(await store.evidence.read(evidence.own.digest, 'node-1'), evidence.own.bytes);
    assert.equal(await store.evidence.read(evidence.own.digest, 'node-2'), null);
    assert.deepEqual(await rows(), before);
  });

  it('is written with others of that second, the newest of each node only', async () => {
    const first = madeRepeat(one, 3_000);
    const last = madeRepeat(one, 3_002);
    const written = [first, madeRepeat(two, 3_001), last].map((each) => store.verdicts.recordRepeat(each));
    assert.deepEqual([await verifiedAt(), await verifiedAt('node-2')], [2_000, 2_000]);
    await Promise.all(written);
    assert.deepEqual([await verifiedAt(), await verifiedAt('node-2')], [3_002, 3_001]);
    assert.deepEqual([await isKept(first.evidenceDigest), await isKept(last.evidenceDigest)], [false, true]);
  });

  it('shows its evidence also while it is on its way to the disk', async () => {
    const shared = madeBlob('keys');
    const repeat = madeRepeat(one, 3_000);
    const { own } = repeat.evidence;
    const written = store.verdicts.recordRepeat({ ...repeat, evidence: { own, shared: [shared] } });
    assert.deepEqual([await isKept(own.digest), await isKept(shared.digest)], [true, true]);
    assert.deepEqual(
      [await isKept(own.digest, 'node-2'), await isKept(shared.digest, 'node-2')],
      [false, false],
    );
    assert.deepEqual(await store.evidence.readShared(shared.digest, 'node-1'), shared.bytes);
    await written;
    assert.deepEqual(await store.evidence.read(shared.digest), shared.bytes);
    assert.deepEqual(await store.evidence.readShared(shared.digest, 'node-2'), shared.bytes);
    assert.equal(await store.evidence.readShared(own.digest, 'node-1'), null);
  });

  describe('and brought a part', () => {
    const part = madeBlob('a log that grew');
    const parts = { userSpace: part.digest };
    const repeat = { ...madeRepeat(one, 3_000), parts };
    const { own } = repeat.evidence;

    it('leaves it to the next one in its place, which only names it', async () => {
      const brought = { ...repeat, evidence: { own, shared: [part] } };
      await Promise.all(
        [brought, { ...madeRepeat(one, 3_001), parts }].map((each) => store.verdicts.recordRepeat(each)),
      );
      assert.deepEqual([await verifiedAt(), await isKept(part.digest)], [3_001, true]);
    });

    it('leaves it to a change which only names it, though it be not written itself', async () => {
      const refused = { own: { ...own, digest: '00'.repeat(32) }, shared: [part] };
      const change = madeRecord(one, 3_001, madeVerdict('untrusted', 'kernel_unknown'));
      const outcomes = await Promise.allSettled([
        store.verdicts.recordRepeat({ ...repeat, evidence: refused }),
        store.verdicts.recordChange({ ...change, status: { ...change.status, parts } }),
      ]);
      assert.deepEqual(
        outcomes.map(({ status }) => status),
        ['rejected', 'fulfilled'],
      );
      assert.equal(await isKept(part.digest), true);
    });
  });

  it('is never written after a later change of its node', async () => {
    const repeat = store.verdicts.recordRepeat(madeRepeat(one, 3_000));
    await store.verdicts.recordChange(madeRecord(one, 3_001, madeVerdict('untrusted', 'kernel_unknown')));
    await Promise.all([repeat, store.verdicts.settled()]);
    const status = await store.verdicts.status('node-1');
    assert.deepEqual([status?.state, status?.verifiedAt], ['untrusted', 3_001]);
  });

  it('is on disk before what it knew is forgotten, and before its node is none any more', async () => {
    const repeats = [store.verdicts.recordRepeat(madeRepeat(one, 3_000))];
    await store.enrolment.forgetSequence(one.ekDigest, madeEvent('enrol.approve', 'node-1'));
    const status = await store.verdicts.status('node-1');
    assert.deepEqual([status?.verifiedAt, status?.resetCount, status?.clock], [3_000, null, null]);
    repeats.push(store.verdicts.recordRepeat(madeRepeat(one, 4_000)));
    const revocation = { name: 'node-1', ekDigest: one.ekDigest, at: 5_000, reason: 'sold' };
    await store.enrolment.revoke(revocation, madeEvent('enrol.revoke', 'node-1'));
    await Promise.all(repeats);
    await store.enrolment.enrol({ ...one, enrolledAt: 5_001 }, madeEvent('enrol', 'node-1'));
    assert.equal(await verifiedAt(), null);
  });

  it('fails for itself: a stranger and a wrong digest cost their neighbours nothing', async () => {
    const wrong = madeRepeat(one, 3_000);
    const { bytes } = wrong.evidence.own;
    const outcomes = await Promise.allSettled([
      store.verdicts.recordRepeat(madeRepeat(madeNode('stranger'), 3_000)),
      store.verdicts.recordRepeat({
        ...wrong,
        evidence: { own: { digest: '00'.repeat(32), bytes }, shared: [] },
      }),
      store.verdicts.recordRepeat(madeRepeat(two, 3_000)),
    ]);
    assert.deepEqual(
      outcomes.map((each) => (each.status === 'rejected' ? (each.reason.code ?? 'fault') : each.status)),
      ['enrolment_pending', 'fault', 'fulfilled'],
    );
    assert.deepEqual([await verifiedAt(), await verifiedAt('node-2')], [2_000, 3_000]);
  });

  it('leaves its evidence to the row of a change that rests on it', async () => {
    const repeat = madeRepeat(one, 3_000);
    await store.verdicts.recordRepeat(repeat);
    const lapsed = madeRecord(one, 9_000, madeVerdict('unknown', 'evidence_overdue'));
    const { evidenceDigest } = repeat;
    await store.verdicts.recordChange({
      ...lapsed,
      status: { ...lapsed.status, evidenceDigest },
      evidence: [],
      history: lapsed.history.map((row) => ({ ...row, evidenceDigest })),
    });
    await store.verdicts.recordChange(madeRecord(one, 10_000));
    await store.verdicts.recordRepeat(madeRepeat(one, 11_000));
    assert.equal(await isKept(evidenceDigest), true);
  });

  it('keeps its evidence while a change that rests on it has no row yet', async () => {
    const repeat = madeRepeat(one, 3_000);
    await store.verdicts.recordRepeat(repeat);
    const { evidenceDigest } = repeat;
    const lapsed = madeRecord(one, 3_000, madeVerdict('unknown', 'evidence_overdue'));
    const status = { ...lapsed.status, evidenceDigest };
    await store.verdicts.recordChange({ status, at: 9_000, evidence: [], history: [], audit: [] });
    assert.deepEqual(
      [(await store.verdicts.status('node-1'))?.state, await verifiedAt(), await isKept(evidenceDigest)],
      ['unknown', 3_000, true],
    );
  });

  it('counts anew where its TPM is enrolled again, under another name too', async () => {
    const repeat = madeRepeat(one, 3_000);
    await store.verdicts.recordRepeat(repeat);
    const revocation = { name: 'node-1', ekDigest: one.ekDigest, at: 5_000, reason: 'moved' };
    await store.enrolment.revoke(revocation, madeEvent('enrol.revoke', 'node-1'));
    const moved = { ...one, name: 'node-9', enrolledAt: 5_001 };
    await store.enrolment.enrol(moved, madeEvent('enrol', 'node-9'));
    const status = await store.verdicts.status('node-9');
    assert.deepEqual(
      [status?.verifiedAt, status?.expiresAt, status?.clock, status?.repeats, status?.evidenceDigest],
      [null, null, null, 0, null],
    );
    await assert.rejects(store.verdicts.recordRepeat(madeRepeat(one, 6_000)), { code: 'enrolment_pending' });
    await store.verdicts.recordChange(madeRecord(moved, 7_000));
    await store.verdicts.recordRepeat(madeRepeat(moved, 8_000));
    assert.equal(await verifiedAt('node-9'), 8_000);
  });

  it('says in a row how many of them there were', async () => {
    const summary = madeRecord(one, 9_000);
    const history = summary.history.map((row) => ({ ...row, transition: false, repeats: 59, since: 2_000 }));
    await store.verdicts.recordChange({ ...summary, history });
    const [row, first] = await store.verdicts.history('node-1', { limit: 2 });
    assert.deepEqual([row?.repeats, row?.since], [59, 2_000]);
    assert.deepEqual([first?.repeats, first?.since], [0, 2_000]);
  });

  describe('and old', () => {
    const now = 1_000 * day;
    const erase = () =>
      eraseOldEvidence(
        {
          store: store.evidence,
          now: () => now,
          evidenceFor: 30 * day,
          transitionEvidenceFor: 400 * day,
          fault: (error) => assert.fail(String(error)),
        },
        new AbortController().signal,
      );
    const erased = async () =>
      (await store.audit.entries({ limit: 100 })).filter(({ action }) => action === 'evidence_erased');

    it('keeps its evidence, and what that names, while it is the latest', async () => {
      const shared = madeBlob('keys');
      const answer = { named: { keys: shared.digest }, parts: {}, context: { at: new Date(3_000) } };
      const own = madeBlob(JSON.stringify(answer));
      const repeat = { ...madeRepeat(one, 3_000), evidenceDigest: own.digest };
      await store.verdicts.recordRepeat({ ...repeat, evidence: { own, shared: [shared] } });
      await erase();
      assert.deepEqual([await isKept(repeat.evidenceDigest), await isKept(shared.digest)], [true, true]);
    });

    it('loses it where its machine is no node any more, and the audit log names it', async () => {
      const repeat = madeRepeat(one, 3_000);
      await store.verdicts.recordRepeat(repeat);
      const revocation = { name: 'node-1', ekDigest: one.ekDigest, at: 5_000, reason: 'sold' };
      await store.enrolment.revoke(revocation, madeEvent('enrol.revoke', 'node-1'));
      assert.equal(await isKept(repeat.evidenceDigest), true);
      await erase();
      assert.equal(await isKept(repeat.evidenceDigest), false);
      const told = (await erased()).map(({ detail }) => detail.digests);
      assert.ok(told.includes(repeat.evidenceDigest));
    });
  });
});
