import assert from 'node:assert/strict';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import type { ReferenceKind } from '../../../attest-server/formats/reference.ts';
import { groupOf, type Policy } from '../../../attest-server/policy/policy.ts';
import { type CapturePorts, createCapture } from '../../../attest-server/references/capture.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import type { Proven } from '../../../attest-server/verify/proven.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
import { siblingLog } from '../../../swtpm-fixtures/sibling.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { provenFolder } from '../../recorded/judged-folder.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { now, reasonOf, statusOf, verdictOf } from '../http/api-fixture.ts';
import { madeProof, policyOf, verdictOn } from '../policy/made-proof.ts';
import { openMadeStore } from '../store/made-store.ts';

const recordedNodes = join(import.meta.dirname, '../../../swtpm-fixtures/recorded-nodes');
const good = recordedLog('debian13-shim-grub');
const otherKernel = tamper(good, 'kernel');
const ownInitrd = (log: Buffer) => siblingLog(log, { initrd: true });
const digestOf = (node: string) => `evidence of ${node}`;

describe('a capture', () => {
  let store: Store;
  let changes = 0;
  beforeEach(async () => {
    store = await openMadeStore(':memory:');
    changes = 0;
  });
  afterEach(() => store[Symbol.asyncDispose]());

  interface Circumstances {
    readonly policy?: Policy;
    readonly separate?: boolean;
    readonly group?: string | null;
    readonly ports?: Partial<CapturePorts>;
    readonly reason?: string | null;
  }

  /** Captures nodes that booted so; what is proven is the evidence that their status names. */
  function captured(
    boots: Readonly<Record<string, Buffer | null>>,
    { policy = policyOf(), separate = false, group = null, ports = {}, reason = null }: Circumstances = {},
    name = 'workers-1',
    kind: ReferenceKind = 'boot',
  ) {
    const proofs = new Map<string, Proven>(
      Object.entries(boots).map(([node, log]) => [digestOf(node), madeProof({ log })]),
    );
    const { capture } = createCapture({
      store: store.references,
      separate,
      unknownAfter: 180_000,
      now: () => now,
      async prove(_node, digest) {
        const proven = proofs.get(digest) ?? null;
        return proven === null ? { proven, note: 'its evidence was erased' } : { proven };
      },
      status: (node) => statusOf(node, verdictOf(), { evidenceDigest: digestOf(node) }),
      groupOf: (node) => groupOf(policy, node, {}),
      async changed() {
        changes += 1;
      },
      ...ports,
    });
    return capture({
      nodes: Object.keys(boots),
      name,
      kind,
      group,
      staged: false,
      only: null,
      aggregate: true,
      reason,
      shown: null,
      actor: 'token:ann',
    });
  }

  const names = async () => (await store.references.list()).map(({ name }) => name);

  it('is for the group of a policy of tomorrow, where one is named, and the audit log says which', async () => {
    const boots = { 'worker-1': good };
    assert.equal((await captured(boots))[0].group, policyOf().groups[0]?.name);
    const [made] = await captured(boots, { group: 'tomorrow' }, 'for-tomorrow');
    assert.equal(made.group, 'tomorrow');
    const entries = await store.audit.entries({ limit: 10 });
    assert.deepEqual(entries.map(({ subject, detail }) => [subject, detail.group]).sort(), [
      ['for-tomorrow', 'tomorrow'],
      ['workers-1', undefined],
    ]);
  });

  it('of one node is in the audit log under that node, and in force', async () => {
    const [made] = await captured({ 'worker-1': good });
    assert.deepEqual([made.captured?.node, made.state, changes], ['worker-1', 'active', 1]);
    const [entry] = await store.audit.entries({ limit: 10 });
    assert.deepEqual(
      [entry?.action, entry?.actor, entry?.subject, entry?.detail],
      [
        'reference.capture',
        'token:ann',
        'workers-1',
        { kind: 'boot', node: 'worker-1', nodes: 'worker-1', state: 'active' },
      ],
    );
  });

  it('of nodes that are alike is one reference, and the audit log names them all', async () => {
    const sibling = siblingLog(good, { firmwareSettings: true, configuration: true });
    const made = await captured({ 'worker-1': good, 'worker-2': good, 'worker-3': sibling });
    assert.equal(made.length, 1);
    assert.deepEqual(await names(), ['workers-1']);
    const [entry] = await store.audit.entries({ limit: 10 });
    assert.equal(entry?.detail.nodes, 'worker-1 worker-2 worker-3');
  });

  it('of nodes that differ is a reference for each kind of boot, and all of them are trusted by these', async () => {
    const policy = policyOf('require: [identity, boot]');
    const boots = {
      'worker-1': good,
      'worker-2': otherKernel,
      'worker-3': good,
      'worker-4': ownInitrd(good),
      // Each of its stages is in one of those before.
      'worker-5': ownInitrd(otherKernel),
    };
    const made = await captured(boots, { policy });
    assert.deepEqual(
      made.map(({ name, captured: from }) => [name, from?.node]),
      [
        ['workers-1', 'worker-1'],
        ['workers-1-2', 'worker-2'],
        ['workers-1-3', 'worker-4'],
      ],
    );
    for (const [name, log] of Object.entries(boots)) {
      const references = await store.references.list();
      assert.equal(verdictOn(madeProof({ log }), policy, { name }, references, now).state, 'trusted', name);
    }
    assert.equal((await store.audit.entries({ limit: 10 })).length, 3);
    assert.equal(changes, 1);
  });

  it('of nodes whose initrds count for themselves alone is a reference for each node', async () => {
    const policy = policyOf('boot: {scope: {initrd: node}}');
    assert.equal((await captured({ 'worker-1': good, 'worker-2': good }, { policy })).length, 2);
    const open = policyOf('boot: {scope: {initrd: unpinned}}');
    assert.equal(
      (await captured({ 'worker-1': good, 'worker-2': ownInitrd(good) }, { policy: open }, 'b')).length,
      1,
    );
  });

  it('of a boot that only a policy with explained PCRs tells apart is a reference of its own', async () => {
    const sibling = siblingLog(good, { firmwareSettings: true });
    const both = { 'worker-1': good, 'worker-2': sibling };
    const made = await captured(both, { policy: policyOf('boot: {explained: [1]}') });
    assert.equal(made.length, 2);
  });

  it('of a firewall is a reference of that kind, under a name that no other kind has, and the audit log says so', async () => {
    const [worker, open] = await Promise.all(
      ['fw-01-worker-iptables-nft', 'fw-02-worker-ssh-open'].map((folder) =>
        provenFolder('firewall', join(recordedNodes, 'firewall', folder)),
      ),
    );
    const shown = new Map([
      [digestOf('worker-1'), worker],
      [digestOf('worker-2'), open],
    ]);
    const ports: Partial<CapturePorts> = {
      async prove(_node, digest) {
        const proven = shown.get(digest) ?? null;
        return proven === null ? { proven, note: 'its evidence was erased' } : { proven };
      },
    };
    await captured({ 'worker-9': good }, {}, 'rules-2');
    const both = { 'worker-1': null, 'worker-2': null };
    await assert.rejects(captured(both, { ports }, 'rules', 'firewall'), { name: 'NotNow' });
    const made = await captured(both, { ports }, 'filter', 'firewall');
    assert.deepEqual(
      made.map(({ kind, name, captured: from }) => [kind, name, from?.node]),
      [
        ['firewall', 'filter', 'worker-1'],
        ['firewall', 'filter-2', 'worker-2'],
      ],
    );
    const entry = (await store.audit.entries({ limit: 10 })).at(-1);
    assert.deepEqual([entry?.subject, entry?.detail.kind], ['filter-2', 'firewall']);
    await assert.rejects(captured({ 'worker-1': good }, {}, 'boots', 'firewall'), { name: 'CaptureError' });
    assert.deepEqual(await names(), ['filter', 'filter-2', 'rules-2']);
  });

  it('of a disk of which two nodes have copies is no model', async () => {
    const shared: Partial<CapturePorts> = {
      status: (node) =>
        statusOf(node, verdictOf({ reasons: [reasonOf('luks_key_shared')] }), {
          evidenceDigest: digestOf(node),
        }),
    };
    const disk = captured({ 'worker-1': good }, { ports: shared }, 'disk', 'disk');
    await assert.rejects(disk, { code: 'luks_key_shared' });
    const boots = captured(
      { 'worker-1': good },
      { ports: shared, reason: 'its disk is another thing' },
      'boots',
    );
    assert.equal((await boots).length, 1);
  });

  it('is staged where another person must approve it', async () => {
    const [made] = await captured({ 'worker-1': good }, { separate: true });
    assert.equal(made.state, 'staged');
  });

  const doubt = (code: ReasonCode) => ({
    status: (node: string) =>
      statusOf(node, node === 'worker-2' ? verdictOf({ reasons: [reasonOf(code)] }) : verdictOf(), {
        evidenceDigest: digestOf(node),
      }),
  });
  const refusals: readonly (readonly [string, object, Partial<CapturePorts>])[] = [
    ['what runs is not what the log tells', { code: 'kexec_detected' }, doubt('kexec_detected')],
    ['it was measured again', { code: 'boot_remeasured' }, doubt('boot_remeasured')],
    ['its TPM may be a copy', { code: 'clone_suspected' }, doubt('clone_suspected')],
    [
      'it has not proven itself lately',
      { code: 'evidence_overdue' },
      {
        status: (node) =>
          statusOf(node, verdictOf(), {
            evidenceDigest: digestOf(node),
            verifiedAt: node === 'worker-2' ? now - 180_001 : now,
          }),
      },
    ],
    [
      'it was never judged',
      { code: 'evidence_overdue' },
      {
        status: (node) =>
          node === 'worker-2' ? null : statusOf(node, verdictOf(), { evidenceDigest: digestOf(node) }),
      },
    ],
    [
      'its evidence is gone',
      { name: 'CaptureError' },
      {
        status: (node) =>
          statusOf(node, verdictOf(), { evidenceDigest: node === 'worker-2' ? 'gone' : digestOf(node) }),
      },
    ],
  ];
  for (const [why, error, ports] of refusals)
    it(`stores nothing where one of the nodes is no model: ${why}`, async () => {
      await assert.rejects(captured({ 'worker-1': good, 'worker-2': otherKernel }, { ports }), error);
      assert.deepEqual([await names(), changes], [[], 0]);
    });

  it('stores nothing where one of the nodes sent no log', async () => {
    await assert.rejects(captured({ 'worker-1': good, 'worker-2': null }), { name: 'CaptureError' });
    assert.deepEqual(await names(), []);
  });

  it('stores nothing where the nodes are of several groups, or a name is taken or too long', async () => {
    const policy: Policy = {
      ...policyOf(),
      groups: policyOf().groups.flatMap((group) => [
        { ...group, name: 'one', nodes: ['worker-1'] },
        { ...group, name: 'other', nodes: ['*'] },
      ]),
    };
    const both = { 'worker-1': good, 'worker-2': otherKernel };
    await assert.rejects(captured(both, { policy }), { name: 'CaptureError' });
    await captured({ 'worker-9': good }, {}, 'b-2');
    for (const name of ['b', 'b-2', 'n'.repeat(62)])
      await assert.rejects(captured(both, {}, name), { name: 'NotNow' });
    assert.deepEqual(await names(), ['b-2']);
  });
});
