import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { bundle } from '../../../attest-server/formats/bundle.ts';
import type { Reference, ReferenceAction } from '../../../attest-server/formats/reference.ts';
import type { LatchState } from '../../../attest-server/in-force/ports.ts';
import { createTrials } from '../../../attest-server/in-force/trials.ts';
import type { NodeState } from '../../../attest-server/wire/verdict.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { enrolled, now, referenceOf, statusOf, verdictOf } from '../http/api-fixture.ts';
import { capturedFrom, madeProof, policyOf, replayedValues } from '../policy/made-proof.ts';
import { madeQuote } from '../verify/made-quote.ts';
import { softwareKey } from '../verify/software-key.ts';

const log = recordedLog('debian13-shim-grub');
const key = softwareKey('p256');
const { attest, signature, pcrs } = madeQuote(key, Buffer.alloc(0), {
  pcrs: { sha256: replayedValues(log, 'sha256') },
});
/** What is kept of a node that booted with this log. */
const kept = bundle.parse({
  version: 2,
  attestationKey: key.publicArea.toString('base64'),
  qualifyingData: '',
  quotes: [
    {
      attest: attest.toString('base64'),
      signature: signature.toString('base64'),
      pcrs: {
        sha256: Object.fromEntries(
          Array.from({ length: 24 }, (_, pcr) => [
            pcr,
            pcrs.sha256?.subarray(32 * pcr, 32 * pcr + 32).toString('hex'),
          ]),
        ),
      },
    },
  ],
  parts: { boot: { digest: hash('sha256', log), bytes: log.toString('base64') } },
});

function trialsOver(
  references: readonly Reference[],
  isLate = false,
  latched: LatchState | null = null,
  boot = '{}',
) {
  let asked = 0;
  return createTrials({
    refusedShare: 0.1,
    asHeld: (policy) => policy,
    store: {
      enrolment: { nodes: async () => [enrolled('node-1'), enrolled('node-2')] },
      references: { list: async () => references },
      verdicts: {
        status: async (node) =>
          node === 'node-1'
            ? statusOf(node, verdictOf(), { evidenceDigest: isLate && asked++ === 0 ? 'gone' : 'kept' })
            : null,
      },
    },
    presence: { present: (nodes) => nodes },
    bundle: async (_node, digest) => (digest === 'kept' ? kept : null),
    latched: { read: async () => latched },
    policy: () => policyOf('require: [identity, boot]', `boot: ${boot}`),
    labelsOf: () => ({}),
    methods: [],
    now: () => now,
  });
}

describe('a trial of a step of a reference’s life', () => {
  const captured = capturedFrom(madeProof({ log }), { name: 'boot' });
  const changed = { action: 'revoke', by: 'token:bob', at: new Date(now).toISOString() } as const;
  const reference = (state: Reference['state']): Reference =>
    state === 'revoked'
      ? { ...captured, state, changed: { ...changed, reason: 'mistaken', from: 'active' } }
      : { ...captured, state };
  const other = { ...referenceOf('other'), group: 'others' };

  const table: readonly (readonly [ReferenceAction, Reference['state'], NodeState, NodeState])[] = [
    ['approve', 'staged', 'pending', 'trusted'],
    ['approve', 'retired', 'pending', 'trusted'],
    ['retire', 'active', 'trusted', 'pending'],
    ['revoke', 'active', 'trusted', 'untrusted'],
    ['revoke', 'staged', 'pending', 'untrusted'],
    ['retire', 'staged', 'pending', 'pending'],
    ['restore', 'revoked', 'untrusted', 'trusted'],
  ];
  for (const [action, state, before, after] of table)
    it(`says of ${action} on one that is ${state} that its node, now ${before}, would be ${after}`, async () => {
      const references = [reference(state), other];
      const answer = await trialsOver(references).simulateReference('boot', action, { limit: 10 });
      const [judged, unjudged] = answer?.items ?? [];
      assert.deepEqual(
        [judged?.node, judged?.before?.state, judged?.after?.state, judged?.changed, judged?.like],
        ['node-1', before, after, before !== after, true],
      );
      assert.deepEqual(
        [unjudged?.node, unjudged?.after, unjudged?.changed, unjudged?.like],
        ['node-2', null, false, false],
      );
      assert.equal(references[0]?.state, state);
    });

  it('ends what was announced of it: approved, it counts only where the policy names it', async () => {
    const announced = {
      nodes: null,
      by: 'token:bob',
      at: new Date(now - 1000).toISOString(),
      until: new Date(now + 1000).toISOString(),
      reason: 'update',
    };
    const staged: Reference = { ...reference('staged'), announced };
    for (const [boot, after] of [
      ['{references: [another]}', 'pending'],
      ['{}', 'trusted'],
    ] as const) {
      const trials = trialsOver([staged, other], false, null, boot);
      const answer = await trials.simulateReference('boot', 'approve', { limit: 10 });
      const [judged] = answer?.items ?? [];
      assert.deepEqual([judged?.before?.state, judged?.after?.state], ['trusted', after]);
    }
  });

  it('judges the latest evidence, also where a verdict came while that before was looked up', async () => {
    const trials = trialsOver([reference('active')], true);
    const page = await trials.simulateReference('boot', 'revoke', { limit: 10 });
    assert.deepEqual(
      page?.items.map(({ node, note }) => [node, note === null]),
      [
        ['node-1', true],
        ['node-2', false],
      ],
    );
  });

  it('says that one of another group changes nobody', async () => {
    const trials = trialsOver([reference('active'), other]);
    const answer = await trials.simulateReference('other', 'revoke', { limit: 10 });
    assert.ok(answer?.items.every(({ changed, like }) => !changed && !like));
    assert.deepEqual(answer?.sharedWith, []);
  });

  it('names the active references that affirm what would be revoked, of no other step', async () => {
    const copies = ['copy-1', 'copy-2'].map((name) => ({ ...captured, name }));
    const trials = trialsOver([reference('staged'), ...copies, other]);
    for (const action of ['revoke', 'approve'] as const) {
      const answer = await trials.simulateReference('boot', action, { limit: 10 });
      assert.deepEqual(
        answer?.sharedWith.map(({ name, whole }) => [name, whole]),
        action === 'revoke'
          ? [
              ['copy-1', true],
              ['copy-2', true],
            ]
          : [],
      );
      const state = action === 'revoke' ? 'untrusted' : 'trusted';
      assert.deepEqual([answer?.items[0]?.before?.state, answer?.items[0]?.after?.state], ['trusted', state]);
    }
  });

  it('knows none of another name, and none where the step is not open', async () => {
    const trials = trialsOver([reference('active')]);
    assert.equal(await trials.simulateReference('none', 'revoke', { limit: 10 }), null);
    await assert.rejects(trials.simulateReference('boot', 'approve', { limit: 10 }), { name: 'NotNow' });
  });
});

describe('a trial of references that would be added', () => {
  const captured = capturedFrom(madeProof({ log }), { name: 'boot' });
  const demanding: Reference = { ...captured, name: 'new', aggregate: 'required', state: 'staged' };
  const added = async (references: readonly Reference[], ...made: readonly Reference[]) => {
    const { items } = await trialsOver(references).simulateAdded(made, { limit: 10 }, false);
    return items.map(({ node, before, after }) => [node, before?.state ?? null, after?.state ?? null]);
  };

  it('names the nodes that lack a proof by these, and those that cannot be judged', async () => {
    const unjudged = ['node-2', null, null];
    assert.deepEqual(await added([captured], demanding), [['node-1', 'trusted', 'pending'], unjudged]);
    assert.deepEqual(await added([], demanding), [['node-1', 'pending', 'pending'], unjudged]);
    assert.deepEqual(await added([captured], { ...demanding, group: 'others' }), [unjudged]);
    const old: Reference = { ...demanding, name: 'old', state: 'active' };
    assert.deepEqual(await added([old], demanding), [unjudged]);
  });

  it('names nobody where none of them demands anything', async () => {
    assert.deepEqual(await added([captured], { ...captured, name: 'new' }), []);
  });
});

describe('a trial of a policy', () => {
  const weaker = `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - {name: workers, nodes: ["*"]}\n`;

  it('says where the latch would refuse it, beside what it would make of nodes', async () => {
    for (const [latched, fields] of [
      [null, []],
      [{ groups: ['others'], policy: null }, []],
      [{ groups: ['workers'], policy: null }, ['groups.0.require', 'groups.0.mode']],
    ] as const) {
      const answer = await trialsOver([], false, latched).simulate(
        { text: weaker, file: 'policy.yaml' },
        { limit: 10 },
      );
      assert.deepEqual(
        answer.latched.map(({ field }) => field),
        fields,
      );
      assert.equal(answer.items.length, 2);
    }
  });
});
