import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { verifyChain } from '../../../attest-server/audit/chain.ts';
import { eraseOldEvidence, startRetention } from '../../../attest-server/evidence/retention.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { madeEvent, madeNode, madeRecord, madeVerdict } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';

const day = 86_400_000;
const now = 1_000 * day;
const [one, two] = [madeNode('node-1'), madeNode('node-2')];

describe('evidence that is old', () => {
  let store: Store;
  const faults: unknown[] = [];
  beforeEach(async () => {
    store = await openMadeStore(':memory:');
    for (const node of [one, two]) await store.enrolment.enrol(node, madeEvent('enrol', node.name));
  });
  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    assert.deepEqual(faults.splice(0), []);
  });

  const bytesOf = (node: string, daysAgo: number) => Buffer.from(`${node} ${daysAgo} days ago`);
  async function record(daysAgo: number, transition: boolean, node = one, forKey?: true): Promise<void> {
    const at = now - daysAgo * day;
    const made = madeRecord(node, at, undefined, bytesOf(node.name, daysAgo));
    await store.verdicts.recordChange({
      ...made,
      history: made.history.map((row) => ({ ...row, transition, ...(forKey && { forKey }) })),
    });
  }
  const isKept = async (daysAgo: number, node = 'node-1') =>
    (await store.evidence.read(hash('sha256', bytesOf(node, daysAgo), 'hex'), node)) !== null;
  const parts = () => ({
    store: store.evidence,
    now: () => now,
    evidenceFor: 30 * day,
    transitionEvidenceFor: 400 * day,
    fault: (error: unknown) => faults.push(error),
  });
  const erase = () => eraseOldEvidence(parts(), new AbortController().signal);
  const erasures = async () =>
    (await store.audit.entries({ limit: 10_000 })).filter(({ action }) => action === 'evidence_erased');

  it('goes after its days, that of a change of state later, and leaves its digest in the audit log', async () => {
    for (const daysAgo of [500, 401]) await record(daysAgo, true);
    for (const daysAgo of [399, 31]) await record(daysAgo, true);
    for (const daysAgo of [100, 50]) await record(daysAgo, false);
    for (const daysAgo of [29, 1]) await record(daysAgo, false);
    await erase();
    const kept = [];
    for (const daysAgo of [500, 401, 399, 100, 50, 31, 29, 1]) if (await isKept(daysAgo)) kept.push(daysAgo);
    assert.deepEqual(kept, [399, 31, 29, 1]);
    const told = (await erasures()).flatMap(({ detail }) => String(detail.digests).split(' '));
    const gone = [500, 401, 100, 50].map((daysAgo) => hash('sha256', bytesOf('node-1', daysAgo), 'hex'));
    assert.deepEqual(told.toSorted(), gone.toSorted());
    assert.equal((await store.verdicts.history('node-1', { limit: 100 })).length, 8);
    assert.equal(verifyChain(await store.audit.entries({ limit: 1_000 })).ok, true);
  });

  it('stays as long as that of a change of state where a key was given or refused by it', async () => {
    for (const daysAgo of [401, 399, 31]) await record(daysAgo, false, one, true);
    await record(30.5, false);
    await record(1, false);
    await erase();
    assert.deepEqual(await Promise.all([401, 399, 31, 30.5].map((daysAgo) => isKept(daysAgo))), [
      false,
      true,
      true,
      false,
    ]);
  });

  it('stays while the latest verdict of its node rests on it', async () => {
    await record(900, true);
    await record(800, false, two);
    await erase();
    assert.deepEqual([await isKept(900), await isKept(800, 'node-2')], [true, true]);
  });

  it('stays where a change of state came later of the same evidence', async () => {
    await record(100, false);
    const made = madeRecord(one, now - 100 * day, undefined, bytesOf('node-1', 100));
    const at = now - 99 * day;
    const lapsed = { at, verdict: madeVerdict('unknown'), transition: true, repeats: 0, since: at };
    const digest = made.status.evidenceDigest;
    await store.verdicts.recordChange({
      ...made,
      evidence: [],
      history: [{ ...lapsed, evidenceDigest: digest }],
    });
    await record(1, true);
    await erase();
    assert.equal(await isKept(100), true);
  });

  it('goes in many steps, once, and not at all while there is none', async () => {
    await erase();
    assert.deepEqual(await erasures(), []);
    for (let hour = 0; hour < 250; hour += 1) await record(100 - hour / 24, false);
    await record(1, false);
    await erase();
    const counts = (await erasures()).map(({ detail }) => detail.count);
    assert.deepEqual(counts, [100, 100, 50]);
    await erase();
    assert.equal((await erasures()).length, 3);
  });

  it('goes by itself when a server starts', async () => {
    await record(100, false);
    await record(1, false);
    const running = startRetention(parts());
    for (const end = Date.now() + 2_000; (await isKept(100)) && Date.now() < end; )
      await new Promise((resolve) => setTimeout(resolve, 5));
    await running.close();
    assert.equal(await isKept(100), false);
  });
});
