import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { nodeView } from '../../../attest-server/http/node-view.ts';
import { nextStep } from '../../../attest-server/policy/advice.ts';
import { heldStatus } from '../../../attest-server/store/status-row.ts';
import { enrolled, now, reasonOf, statusOf, verdictOf } from './api-fixture.ts';

describe('the view of a node', () => {
  it('shows a verdict that still counts as it is', () => {
    const view = nodeView(statusOf('node-1', verdictOf()), enrolled('node-1'), now, null);
    assert.deepEqual([view.state, view.reason, view.aspects.boot?.status], ['trusted', null, 'affirming']);
    assert.equal(view.verifiedAt, '2026-11-20T11:59:55.000Z');
  });

  const notGreen: readonly (readonly [
    string,
    Parameters<typeof statusOf>[2],
    Parameters<typeof verdictOf>[0],
  ])[] = [
    ['whose time is over', { expiresAt: now }, {}],
    ['without an end', { expiresAt: null }, {}],
    ['without a verdict', { verdict: null }, {}],
    ['that rests on nothing', {}, { require: [] }],
    ['whose verdict says something else', { state: 'trusted' }, { state: 'pending' }],
  ];
  for (const [what, status, verdict] of notGreen)
    it(`never shows a trusted node ${what} as trusted`, () => {
      const view = nodeView(statusOf('node-1', verdictOf(verdict), status), enrolled('node-1'), now, null);
      assert.deepEqual([view.state, view.reason], ['unknown', 'evidence_overdue']);
      assert.ok(Object.values(view.aspects).every((aspect) => aspect.status === 'none'));
    });

  it('keeps a node untrusted in its silence', () => {
    const verdict = verdictOf({ state: 'untrusted', reasons: [reasonOf('kernel_unknown')] });
    const view = nodeView(statusOf('node-1', verdict, { expiresAt: now - 1 }), enrolled('node-1'), now, null);
    assert.deepEqual([view.state, view.reason], ['untrusted', 'kernel_unknown']);
  });

  it('names the evidence that has what a reason cites, and none for what an earlier answer had', () => {
    const cited = (digest: string) =>
      reasonOf('kernel_unknown', { evidence: { digest, position: 'event 94' } });
    const verdict = verdictOf({ state: 'untrusted', reasons: [cited('aa'), cited('bb')] });
    const status = statusOf('node-1', verdict, { parts: { boot: 'aa' }, recordedEvidence: 'cc' });
    const view = nodeView(status, enrolled('node-1'), now, null);
    assert.deepEqual(
      view.reasons.map(({ evidence }) => evidence?.bundle),
      ['cc', null],
    );
    assert.equal(view.evidence, 'cc');
  });

  it('says of a node whose row of the database cannot be read why it is unknown, and not since when (row 128)', () => {
    const held = heldStatus({ name: 'node-1', ek_digest: enrolled('node-1').ekDigest });
    const view = nodeView(held, enrolled('node-1'), now, null);
    assert.deepEqual([view.state, view.reason, view.since], ['unknown', 'counter_rollback', null]);
    assert.match(
      nextStep(view.reasons[0] ?? assert.fail(), { node: 'node-1', ek: view.ek }),
      /^ {2}assay enrol approve/m,
    );
  });

  it('says of silence when the last proof was, as a moment', () => {
    const view = nodeView(statusOf('node-1', verdictOf(), { expiresAt: now }), enrolled('node-1'), now, null);
    assert.equal(view.reasons[0]?.actual, 'the last one of 2026-11-20T11:59:55.000Z');
  });

  it('says of an enrolled node without any verdict that it is pending', () => {
    const view = nodeView(null, enrolled('node-1'), now, null);
    assert.deepEqual(
      [view.state, view.reason, view.group, view.require],
      ['pending', 'enrolment_pending', null, []],
    );
  });

  it('says of a node that is overdue by a fault of the server whose fault it is, and never stays green', () => {
    const view = nodeView(
      statusOf('node-1', verdictOf(), { expiresAt: now }),
      enrolled('node-1'),
      now,
      'disk_full',
    );
    assert.deepEqual([view.state, view.reason, view.reasons.length], ['unknown', 'server_fault', 1]);
    const [first] = view.reasons;
    assert.deepEqual([first?.source, first?.class], ['server', 'service']);
    const stored = verdictOf({ state: 'unknown', reasons: [reasonOf('evidence_overdue')] });
    const aged = nodeView(statusOf('node-1', stored), enrolled('node-1'), now, 'internal');
    assert.deepEqual([aged.state, aged.reasons.map(({ code }) => code)], ['unknown', ['server_fault']]);
    const unjudged = nodeView(null, enrolled('node-1'), now, 'disk_full');
    assert.deepEqual([unjudged.state, unjudged.reason], ['pending', 'server_fault']);
  });

  it('leaves an untrusted node untrusted, and a verdict that counts as it is, whatever the server fails at', () => {
    const broken = verdictOf({ state: 'untrusted', reasons: [reasonOf('kernel_unknown')] });
    const untrusted = nodeView(
      statusOf('node-1', broken, { expiresAt: 0 }),
      enrolled('node-1'),
      now,
      'disk_full',
    );
    assert.deepEqual([untrusted.state, untrusted.reason], ['untrusted', 'kernel_unknown']);
    const fresh = nodeView(statusOf('node-1', verdictOf()), enrolled('node-1'), now, 'disk_full');
    assert.deepEqual([fresh.state, fresh.reason], ['trusted', null]);
  });

  it('names maker and firmware of the TPM as far as they are known', () => {
    const tpm = (manufacturer: string | null, firmwareVersion: string | null) =>
      nodeView(
        statusOf('node-1', verdictOf(), { firmwareVersion }),
        { ...enrolled('node-1'), manufacturer },
        now,
        null,
      ).tpm;
    assert.deepEqual(
      [tpm('IFX', 'ab'), tpm('IFX', null), tpm(null, 'ab'), tpm(null, null)],
      ['IFX firmware ab', 'IFX', 'firmware ab', null],
    );
  });
});
