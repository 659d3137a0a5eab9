import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { NodeStatus } from '../../../attest-server/attest/ports.ts';
import { trustedLabel } from '../../../attest-server/formats/marks.ts';
import { type Circumstances, marksFor } from '../../../attest-server/marking/marks.ts';
import type { ClusterNode, Exemption, Taint } from '../../../attest-server/marking/ports.ts';
import { hour, judged, keys, type MadeVerdict, madeGroup, madeNode, today, usual } from './made-marking.ts';

const pending: Taint = { key: keys.pending, effect: 'NoSchedule' };
const reproving: Taint = { key: keys.reproving, effect: 'NoSchedule' };
const untrusted: Taint = { key: keys.untrusted, value: 'kernel_unknown', effect: 'NoSchedule' };
const never: Partial<NodeStatus> = { trustedAt: null };
const exemption: Exemption = {
  node: 'node-1',
  reason: 'a drill',
  by: 'token:admin',
  at: today,
  until: today + hour,
};

interface Case {
  readonly name: string;
  readonly verdict: MadeVerdict | null;
  readonly status?: Partial<NodeStatus>;
  readonly mode?: 'observe' | 'label' | 'enforce';
  readonly tpm?: 'absent';
  readonly node?: Partial<ClusterNode>;
  readonly by?: Partial<Circumstances>;
  readonly taints: readonly string[];
  readonly label: boolean;
  /** Status and reason; null: no condition. */
  readonly condition: string | null;
  readonly suppressed?: string;
}

const drift: MadeVerdict = { state: 'untrusted', codes: ['kernel_unknown'] };
const cases: readonly Case[] = [
  {
    name: 'a trusted node has the label and no taint',
    verdict: { state: 'trusted' },
    node: { taints: [pending, untrusted, reproving] },
    taints: [],
    label: true,
    condition: 'True Trusted',
  },
  {
    name: 'in observe nothing is marked, and what is ours goes',
    verdict: { state: 'trusted' },
    mode: 'observe',
    node: { taints: [pending], labels: { [trustedLabel]: 'true' } },
    taints: [],
    label: false,
    condition: null,
  },
  {
    name: 'in label there is no taint',
    verdict: drift,
    mode: 'label',
    node: { taints: [untrusted] },
    taints: [],
    label: false,
    condition: 'False KernelUnknown',
  },
  {
    name: 'an untrusted node has the code as a taint, in place of other taints of ours',
    verdict: drift,
    node: { taints: [pending] },
    taints: ['assay.dev/untrusted=kernel_unknown'],
    label: false,
    condition: 'False KernelUnknown',
  },
  {
    name: 'a node without a record is pending from its registration on',
    verdict: null,
    status: never,
    taints: ['assay.dev/pending='],
    label: false,
    condition: 'Unknown Pending',
  },
  {
    name: 'a node that was never trusted stays pending',
    verdict: { state: 'pending', codes: ['no_reference'] },
    status: never,
    taints: ['assay.dev/pending='],
    label: false,
    condition: 'Unknown NoReference',
  },
  {
    name: 'a known node whose boot began anew is reproving',
    verdict: { state: 'pending', codes: ['rebooted'] },
    status: { bootSeenAt: today },
    taints: ['assay.dev/reproving='],
    label: false,
    condition: 'Unknown Rebooted',
  },
  {
    name: 'a known node that loaded another kernel is reproving, though its TPM was not reset',
    verdict: { state: 'pending', codes: ['kexec_detected'] },
    taints: ['assay.dev/reproving='],
    label: false,
    condition: 'Unknown KexecDetected',
  },
  {
    name: 'a reference that is retired taints no node that runs the boot it was trusted with',
    verdict: { state: 'pending', codes: ['no_reference'] },
    taints: [],
    label: false,
    condition: 'Unknown NoReference',
  },
  {
    name: 'an untrusted node that reboots is not free meanwhile',
    verdict: { state: 'pending', codes: ['no_reference'] },
    node: { taints: [untrusted] },
    taints: ['assay.dev/reproving='],
    label: false,
    condition: 'Unknown NoReference',
  },
  {
    name: 'an unknown node loses the label, gets no taint and keeps what it has',
    verdict: { state: 'unknown', codes: ['evidence_overdue'] },
    node: { taints: [reproving], labels: { [trustedLabel]: 'true' } },
    taints: ['assay.dev/reproving='],
    label: false,
    condition: 'Unknown EvidenceOverdue',
  },
  {
    name: 'an unknown node without taints stays without (row 64)',
    verdict: { state: 'unknown', codes: ['evidence_overdue'] },
    taints: [],
    label: false,
    condition: 'Unknown EvidenceOverdue',
  },
  {
    name: 'a verdict past its end is no label, whatever its state says (row 64)',
    verdict: { state: 'trusted' },
    status: { expiresAt: today - 1 },
    taints: [],
    label: false,
    condition: 'Unknown EvidenceOverdue',
  },
  {
    name: 'a Node that is made anew by a silent node is marked at its creation (row 11)',
    verdict: { state: 'unknown', codes: ['evidence_overdue'] },
    node: { createdAt: today },
    taints: ['assay.dev/reproving='],
    label: false,
    condition: 'Unknown EvidenceOverdue',
  },
  {
    name: 'a Node that is made anew by an untrusted node is marked at its creation (row 11)',
    verdict: drift,
    node: { createdAt: today },
    taints: ['assay.dev/untrusted=kernel_unknown'],
    label: false,
    condition: 'False KernelUnknown',
  },
  {
    name: 'a Node that is made anew within the second of its verdict is not free (row 11)',
    verdict: drift,
    status: { since: today + 900 },
    node: { createdAt: today },
    by: { delay: 'limiter' },
    taints: ['assay.dev/reproving='],
    label: false,
    condition: 'False KernelUnknown',
    suppressed: 'limiter',
  },
  {
    name: 'a Node that is made anew while the breaker holds its taint is not free (row 11)',
    verdict: drift,
    node: { createdAt: today },
    by: { delay: 'breaker' },
    taints: ['assay.dev/reproving='],
    label: false,
    condition: 'False KernelUnknown',
    suppressed: 'breaker',
  },
  {
    name: 'a held node loses the label at once and gets no taint (row 67)',
    verdict: drift,
    by: { delay: 'breaker' },
    node: { labels: { [trustedLabel]: 'true' } },
    taints: [],
    label: false,
    condition: 'False KernelUnknown',
    suppressed: 'breaker',
  },
  {
    name: 'what is there already stays while the breaker holds',
    verdict: drift,
    by: { delay: 'breaker' },
    node: { taints: [untrusted] },
    taints: ['assay.dev/untrusted=kernel_unknown'],
    label: false,
    condition: 'False KernelUnknown',
  },
  {
    name: 'a failed proof beside drift is held by nobody',
    verdict: { state: 'untrusted', codes: ['kernel_unknown', 'counter_rollback'] },
    by: { delay: 'breaker' },
    taints: ['assay.dev/untrusted=kernel_unknown'],
    label: false,
    condition: 'False KernelUnknown',
  },
  {
    name: 'an exemption takes the taint away and never gives the label',
    verdict: drift,
    by: { exemption },
    node: { taints: [untrusted] },
    taints: [],
    label: false,
    condition: 'False KernelUnknown',
    suppressed: 'exempt',
  },
  {
    name: 'a pause leaves all as it is, and the label goes all the same',
    verdict: drift,
    by: { paused: true },
    node: { taints: [pending], labels: { [trustedLabel]: 'true' } },
    taints: ['assay.dev/pending='],
    label: false,
    condition: null,
    suppressed: 'paused',
  },
  {
    name: 'a pause gives no label',
    verdict: { state: 'trusted' },
    by: { paused: true },
    taints: [],
    label: false,
    condition: null,
    suppressed: 'paused',
  },
  {
    name: 'a control plane is never touched',
    verdict: drift,
    node: { labels: { 'node-role.kubernetes.io/control-plane': '' } },
    taints: [],
    label: false,
    condition: null,
    suppressed: 'control_plane',
  },
  {
    name: 'a node that calls itself a control plane later sheds no taint',
    verdict: drift,
    node: { labels: { 'node-role.kubernetes.io/master': '' }, taints: [untrusted] },
    taints: ['assay.dev/untrusted='],
    label: false,
    condition: null,
    suppressed: 'control_plane',
  },
  {
    name: 'a node that calls itself a control plane keeps what it has, also where another taint is due by now',
    verdict: drift,
    node: { labels: { 'node-role.kubernetes.io/master': '' }, taints: [reproving] },
    taints: ['assay.dev/reproving='],
    label: false,
    condition: null,
    suppressed: 'control_plane',
  },
  {
    name: 'the server’s own node is never touched',
    verdict: drift,
    by: { ownNode: 'node-1' },
    taints: [],
    label: false,
    condition: null,
    suppressed: 'own_node',
  },
  {
    name: 'pending stays while an autoscaler has not registered the machine (row 112)',
    verdict: { state: 'trusted' },
    node: { taints: [{ key: 'karpenter.sh/unregistered', effect: 'NoExecute' }, pending] },
    taints: ['assay.dev/pending='],
    label: true,
    condition: 'True Trusted',
    suppressed: 'autoscaler',
  },
  {
    name: 'pending stays for an autoscaler in observe, too (row 112)',
    verdict: null,
    mode: 'observe',
    node: { taints: [{ key: 'karpenter.sh/unregistered', effect: 'NoExecute' }, pending] },
    taints: ['assay.dev/pending='],
    label: false,
    condition: null,
    suppressed: 'autoscaler',
  },
  {
    name: 'a node that flaps has its marks back when it has kept its trust',
    verdict: { state: 'trusted' },
    by: { isSettling: true },
    node: { taints: [untrusted] },
    taints: ['assay.dev/untrusted=kernel_unknown'],
    label: false,
    condition: 'Unknown Settling',
    suppressed: 'settling',
  },
  {
    name: 'a machine without TPM gets no taint unless its policy enforces',
    verdict: null,
    tpm: 'absent',
    mode: 'observe',
    taints: [],
    label: false,
    condition: null,
  },
  {
    name: 'a machine without TPM gets a taint where its policy enforces, and never the label',
    verdict: { state: 'trusted' },
    tpm: 'absent',
    taints: ['assay.dev/untrusted=unsupported_tpm'],
    label: false,
    condition: 'Unknown Unsupported',
  },
];

describe('the marks of a node', () => {
  for (const { name, verdict, status, mode, tpm, node, by, taints, label, condition, suppressed } of cases)
    it(name, () => {
      const group = madeGroup({ mode: mode ?? 'enforce', tpm: tpm ?? 'required' });
      const marks = marksFor(judged(verdict, status, group), madeNode(node), { ...usual, ...by });
      assert.deepEqual(
        marks.taints.map(({ key, value }) => `${key}=${value}`).sort(),
        [...taints].map((taint) => (taint === 'assay.dev/untrusted=' ? `${taint}kernel_unknown` : taint)),
      );
      assert.equal(marks.label, label);
      assert.equal(marks.condition && `${marks.condition.status} ${marks.condition.reason}`, condition);
      assert.equal(marks.suppressed, suppressed ?? null);
    });

  it('trusts nobody by a verdict that asked for less than the policy does now', () => {
    const before = madeGroup({ mode: 'observe', require: ['identity'] });
    const { state } = judged({ state: 'trusted', group: before }, {}, madeGroup());
    assert.equal(state, 'unknown');
  });

  it('says the first sentence of the first reason, and until when a node is exempt', () => {
    const marks = marksFor(judged(drift), madeNode(), { ...usual, exemption });
    assert.equal(
      marks.condition?.message,
      'Because of kernel_unknown. Exempt until 2026-11-27T01:00:00.000Z.',
    );
  });
});
