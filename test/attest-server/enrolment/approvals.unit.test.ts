import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'mocha';
import { type Approvals, createApprovals } from '../../../attest-server/enrolment/approvals.ts';
import { Candidates } from '../../../attest-server/enrolment/candidates.ts';
import type { EnrolmentMethod } from '../../../attest-server/formats/enrolment-method.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { openMadeStore } from '../store/made-store.ts';

const ek = 'a'.repeat(64);

describe('the approval of a key that is enrolled already', () => {
  let store: Store;
  let approvals: Approvals;
  let held: boolean;
  let ways: readonly EnrolmentMethod[];

  beforeEach(async () => {
    store = await openMadeStore(':memory:');
    held = true;
    ways = ['approval'];
    approvals = createApprovals({
      checkPins: async () => {},
      store: store.enrolment,
      candidates: await Candidates.open(store.enrolment),
      now: () => 0,
      trial: false,
      alert: () => {},
      mayEnrol: (_node, by) => ways.includes(by),
      release: (_node, work) => work(),
      eraseEvidence: async () => 0,
      async approveAgain() {
        const was = held;
        held = false;
        return was;
      },
    });
  });

  const enrolled = (bound: EnrolmentMethod, trial?: true) =>
    store.enrolment.enrol(
      {
        ...(trial && { trial }),
        ekDigest: ek,
        keyDigest: ek,
        name: 'node-1',
        bound,
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
      { at: 0, actor: 'agent:node-1', action: 'enrol', subject: 'node-1', code: null, detail: {} },
    );
  const approve = () => approvals.approve('node-1', ek, 'token:ann');

  it('forgives what is held against it, where the policy lets nobody enrol by approval', async () => {
    ways = ['pin'];
    await enrolled('pin');
    assert.deepEqual(await approve(), { ekDigest: ek, isWaiting: true });
    assert.equal(held, false);
    await assert.rejects(approve(), { code: 'enrolment_pending' });
    assert.deepEqual(await store.enrolment.approvals(), []);
  });

  it('forgives it at once where the key was bound by first use', async () => {
    await enrolled('first-use');
    await approve();
    assert.deepEqual([held, (await store.enrolment.node('node-1'))?.bound], [false, 'approval']);
    await assert.rejects(approve(), { code: 'ek_already_bound' });
  });

  it('leaves a binding by first use as it is, where the policy lets nobody enrol by approval', async () => {
    ways = ['first-use'];
    await enrolled('first-use');
    await approve();
    assert.deepEqual([held, (await store.enrolment.node('node-1'))?.bound], [false, 'first-use']);
    await assert.rejects(approve(), { code: 'enrolment_pending' });
  });

  for (const [allowed, bound] of [
    [['vendor', 'first-use'], 'first-use'],
    [['first-use', 'approval'], 'approval'],
  ] as const)
    it(`takes what enrolled on trial where the policy allows ${allowed.join(' and ')}`, async () => {
      ways = allowed;
      held = false;
      await enrolled('first-use', true);
      await approve();
      const node = await store.enrolment.node('node-1');
      assert.deepEqual([node?.bound, node?.trial, node?.enrolledBy], [bound, undefined, 'token:ann']);
    });

  it('takes nothing that enrolled on trial in a way that the policy does not allow any more', async () => {
    ways = ['pin'];
    held = false;
    await enrolled('first-use', true);
    await assert.rejects(approve(), { code: 'enrolment_pending' });
    assert.equal((await store.enrolment.node('node-1'))?.trial, true);
  });

  it('is refused where nothing is held against it', async () => {
    held = false;
    await enrolled('pin');
    await assert.rejects(approve(), { code: 'ek_already_bound' });
  });
});
