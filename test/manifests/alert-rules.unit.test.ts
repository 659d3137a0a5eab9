import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type ReasonClass, reasonClasses } from '../../attest-server/wire/reasons.ts';
import { type NodeState, nodeStates } from '../../attest-server/wire/verdict.ts';
import {
  assertCases,
  assertFires,
  type Fired,
  promtool,
  type RuleCase,
  readRules,
  rulesFile,
  type Scraped,
} from './promtool.ts';

const instance = 'assay:9464';
const codes: Readonly<Record<ReasonClass, string>> = {
  failed: 'counter_rollback',
  posture: 'secureboot_off',
  drift: 'kernel_unknown',
  service: 'evidence_overdue',
};

interface Node {
  readonly name: string;
  readonly state: NodeState;
  /** Null: it is trusted. */
  readonly class: ReasonClass | null;
  readonly signed: boolean;
}

const stateSeries = ({ name, state }: Node): Scraped =>
  nodeStates.map((each) => [
    `assay_node_state{instance="${instance}",node="${name}",state="${each}"}`,
    each === state ? '1x90' : '0x90',
  ]);

const reasonLabels = (node: Node, is: ReasonClass) => ({
  instance,
  node: node.name,
  code: codes[is],
  class: is,
  signed: String(node.signed),
});

const seriesOf = (node: Node): Scraped => [
  ...stateSeries(node),
  ...(node.class === null
    ? []
    : [[`assay_node_reason_info${labelsText(reasonLabels(node, node.class))}`, '1x90'] as const]),
];

const labelsText = (labels: Readonly<Record<string, string>>) =>
  `{${Object.entries(labels)
    .map(([name, value]) => `${name}="${value}"`)
    .join(',')}}`;

/** The server is there, and answers nodes. */
const healthy: Scraped = [
  [`assay_build_info{instance="${instance}",version="0.2.0"}`, '1x1600'],
  [`assay_ready{instance="${instance}"}`, '1x1600'],
];

/** Which alert names a node, and from which minute on. */
function alertOf({ state, class: is, signed }: Node): readonly [string, number] | null {
  if (is === 'failed') return ['AssayNodeFailed', 0];
  if (state === 'pending') return ['AssayNodePending', 30];
  if (state === 'unknown') return ['AssayNodeSilent', 10];
  if (state !== 'untrusted') return null;
  if (is === 'posture') return ['AssayNodePosture', 0];
  if (is === 'drift') return [signed ? 'AssayNodeChangedSigned' : 'AssayNodeChanged', 0];
  return ['AssayNodeUntrusted', 0];
}

const nodes: readonly Node[] = [
  { name: 'good', state: 'trusted', class: null, signed: false },
  { name: 'without-tpm', state: 'unsupported', class: 'service', signed: false },
  ...(['pending', 'untrusted', 'unknown'] as const).flatMap((state) =>
    reasonClasses.flatMap((is) =>
      (is === 'drift' ? [true, false] : [false]).map((signed) => {
        const name = `${state}-${is}-${signed ? 'signed' : 'unsigned'}`;
        return { name, state, class: is, signed };
      }),
    ),
  ),
];

/** These two by turns, for an hour. */
function alternating(even: string, odd: string): string {
  return Array.from({ length: 60 }, (_, index) => (index % 2 === 0 ? even : odd)).join(' ');
}

const of = (more: Readonly<Record<string, string>> = {}) => ({ instance, ...more });

/** One alert of the server a row: what was scraped, when it fires, and how. */
const ofServer: readonly (readonly [string, Scraped, string, Fired])[] = [
  [
    'untrusted nodes, where no series name one',
    [[`assay_nodes{instance="${instance}",state="untrusted"}`, '2x90']],
    '5m',
    { alert: 'AssayNodesUntrusted', labels: of({ state: 'untrusted' }), value: '2' },
  ],
  [
    'nodes that a change of ours turned, where no series name one',
    [
      [`assay_nodes{instance="${instance}",state="untrusted"}`, '5x90'],
      [`assay_nodes_turned{instance="${instance}",change="policy"}`, '5x90'],
      [`assay_nodes_turned{instance="${instance}",change="references"}`, '0x90'],
    ],
    '5m',
    { alert: 'AssayPolicyChangedMany', labels: of({ change: 'policy' }), value: '5' },
  ],
  [
    'more than a fifth of the nodes silent',
    [
      [`assay_nodes{instance="${instance}",state="unknown"}`, '3x90'],
      [`assay_nodes{instance="${instance}",state="trusted"}`, '9x90'],
      [`assay_nodes{instance="${instance}",state="unsupported"}`, '90x90'],
    ],
    '10m',
    { alert: 'AssayManyNodesSilent', labels: of(), value: '3' },
  ],
  [
    'a node that was not trusted for a day',
    [[`assay_node_last_success_timestamp_seconds{instance="${instance}",node="node-2"}`, '0x1600']],
    '25h',
    { alert: 'AssayNodeNotTrustedForADay', labels: of({ node: 'node-2' }), value: '1d 1h 0m 0s' },
  ],
  [
    'a node that flaps',
    [[`assay_node_trusted{instance="${instance}",node="node-2"}`, '1x5 0x2 1x9 0x2 1x9 0x2 1x90']],
    '45m',
    { alert: 'AssayNodeFlapping', labels: of({ node: 'node-2' }) },
  ],
  [
    'a node that flaps between two scrapes',
    [
      [`assay_node_trusted{instance="${instance}",node="node-2"}`, '1x90'],
      [`assay_node_flapping{instance="${instance}",node="node-2"}`, '1x90'],
    ],
    '1m',
    { alert: 'AssayNodeFlapping', labels: of({ node: 'node-2' }) },
  ],
  [
    'a Node of the cluster that has no agent',
    [
      [`assay_node_without_agent{instance="${instance}",node="node-9"}`, '1x90'],
      [`assay_nodes_without_agent{instance="${instance}"}`, '1x90'],
    ],
    '30m',
    { alert: 'AssayAgentMissing', labels: of({ node: 'node-9' }) },
  ],
  [
    'silent nodes whose names are claimed',
    [[`assay_nodes_silent_claimed{instance="${instance}"}`, '2x90']],
    '10m',
    { alert: 'AssaySilentNodesClaimed', labels: of(), value: '2' },
  ],
  [
    'machines that say they have no TPM',
    [[`assay_nodes_claimed_without_tpm{instance="${instance}"}`, '5x90']],
    '30m',
    { alert: 'AssayMachinesWithoutTpm', labels: of(), value: '5' },
  ],
  [
    'a key that went to a new address',
    [[`assay_key_releases_new_address_total{instance="${instance}"}`, '0x5 1x90']],
    '6m',
    { alert: 'AssayKeyToNewAddress', labels: of() },
  ],
  [
    'a node that would get no key at its next boot',
    [
      [`assay_nodes_next_boot{instance="${instance}",answer="would_not",key="yes"}`, '0 3x90'],
      [`assay_nodes_next_boot{instance="${instance}",answer="unknown",key="yes"}`, '4x90'],
    ],
    '20m',
    { alert: 'AssayKeyWouldBeRefused', labels: of({ answer: 'would_not', key: 'yes' }), value: '3' },
  ],
  [
    'a node that gets no key, by its code',
    [
      [`assay_key_refusals_total{instance="${instance}",code="root_unmeasured"}`, '0x5 1x90'],
      [`assay_key_refusals_total{instance="${instance}",code="lease_consumed"}`, '3x90'],
    ],
    '6m',
    { alert: 'AssayKeyRefused', labels: of({ code: 'root_unmeasured' }) },
  ],
  [
    'Nodes of the cluster that have no agent, where no series name one',
    [[`assay_nodes_without_agent{instance="${instance}"}`, '4x90']],
    '30m',
    { alert: 'AssayAgentsMissing', labels: of(), value: '4' },
  ],
  [
    'many Nodes of the cluster that have no agent, as one',
    [
      ...['a', 'b', 'c', 'd', 'e'].map(
        (node) => [`assay_node_without_agent{instance="${instance}",node="${node}"}`, '1x90'] as const,
      ),
      [`assay_nodes_without_agent{instance="${instance}"}`, '5x90'],
      // They come again each quarter of a minute, and say that they have no TPM.
      [`assay_refusals_total{instance="${instance}",code="unsupported_tpm"}`, '0+20x90'],
    ],
    '30m',
    { alert: 'AssayAgentsMissing', labels: of(), value: '5' },
  ],
  [
    'many nodes that fail the same way',
    [[`assay_mass_failure_nodes{instance="${instance}",code="kernel_unknown"}`, '0 30x90']],
    '2m',
    { alert: 'AssayMassFailure', labels: of({ code: 'kernel_unknown' }), value: '30' },
  ],
  [
    'taints that are held back',
    [
      [`assay_circuit_breaker_open{instance="${instance}",scope="drift"}`, '0 1x90'],
      [`assay_circuit_breaker_open{instance="${instance}",scope="clock"}`, '1x90'],
    ],
    '2m',
    { alert: 'AssayCircuitBreakerOpen', labels: of({ scope: 'drift' }) },
  ],
  [
    'nodes that lack their marks',
    [
      [`assay_enforcement_wrong_nodes{instance="${instance}"}`, '4x90'],
      [`assay_enforcement_leader{instance="${instance}"}`, '1x90'],
    ],
    '11m',
    { alert: 'AssayEnforcementDrift', labels: of(), value: '4' },
  ],
  [
    'a cluster that takes the resources of two nodes no more, of one in part',
    [
      [`assay_enforcement_wrong_resources{instance="${instance}",shows="old"}`, '1x90'],
      [`assay_enforcement_wrong_resources{instance="${instance}",shows="least"}`, '1x90'],
      [`assay_enforcement_wrong_resources{instance="${instance}",shows="none"}`, '0x90'],
    ],
    '11m',
    { alert: 'AssayResourceRefused', labels: of(), value: '2' },
  ],
  [
    'a cluster whose nodes nobody marks',
    [
      [`assay_enforcement_mode{instance="${instance}",mode="enforce"}`, '4x90'],
      [`assay_enforcement_wrong_nodes{instance="${instance}"}`, '4x90'],
      [`assay_enforcement_leader{instance="${instance}"}`, '0x90'],
    ],
    '11m',
    { alert: 'AssayNobodyMarks', labels: {} },
  ],
  [
    'marks that admission lets others change',
    [
      [`assay_admission_fault{instance="${instance}",protects="marks",cause="not_denying"}`, '1x90'],
      [`assay_admission_fault{instance="${instance}",protects="attestations",cause="missing"}`, '0x90'],
    ],
    '11m',
    { alert: 'AssayMarksUnprotected', labels: of({ protects: 'marks', cause: 'not_denying' }) },
  ],
  [
    'a cluster that cannot be read',
    [[`assay_cluster_fault{instance="${instance}",cause="forbidden"}`, '1x90']],
    '11m',
    { alert: 'AssayClusterUnread', labels: of() },
  ],
  [
    'a cluster that is now refused and now too late',
    [
      [`assay_cluster_fault{instance="${instance}",cause="failed"}`, alternating('1', '0')],
      [`assay_cluster_fault{instance="${instance}",cause="unreachable"}`, alternating('0', '1')],
    ],
    '11m',
    { alert: 'AssayClusterUnread', labels: of() },
  ],
  [
    'one server of two that is gone',
    [
      ['up{instance="other:9464",job="assay"}', '1x20 0x90'],
      ['assay_build_info{instance="other:9464",job="assay",version="0.2.0"}', '1x20 stale'],
    ],
    '40m',
    { alert: 'AssayServerGone', labels: { instance: 'other:9464', job: 'assay' } },
  ],
  [
    'an audit log that the start found to be another one, before anybody scraped',
    [
      [`assay_refusals_total{instance="${instance}",code="audit_rollback"}`, '_x30 1x90'],
      [`process_start_time_seconds{instance="${instance}"}`, '_x30 1800x90'],
    ],
    '40m',
    { alert: 'AssayAuditRollback', labels: of({ code: 'audit_rollback' }) },
  ],
  [
    'an audit log that nobody has resolved',
    [
      [`assay_refusals_total{instance="${instance}",code="audit_rollback"}`, '0x90'],
      [`assay_audit_rollback{instance="${instance}"}`, '1x90'],
    ],
    '60m',
    { alert: 'AssayAuditRollback', labels: of({ code: 'audit_rollback' }) },
  ],
  [
    'a webhook that takes nothing',
    [
      [`assay_webhook_oldest_timestamp_seconds{instance="${instance}"}`, '1x90'],
      [`assay_webhook_queue_length{instance="${instance}"}`, '3x90'],
    ],
    '11m',
    { alert: 'AssayWebhookFailing', labels: of(), value: '10m 59s' },
  ],
  [
    'a server that is not ready',
    [[`assay_ready{instance="${instance}"}`, '0x90']],
    '5m',
    { alert: 'AssayServerNotReady', labels: of() },
  ],
  [
    'a server whose verdicts count for nothing',
    [[`assay_trial{instance="${instance}"}`, '0 1x90']],
    '11m',
    { alert: 'AssayTrial', labels: of() },
  ],
  [
    'a server that fails while judging',
    [[`assay_server_fault{instance="${instance}",cause="disk_full"}`, '0 0 0 1x90']],
    '5m',
    { alert: 'AssayServerFault', labels: of({ cause: 'disk_full' }) },
  ],
  [
    'no answers',
    [
      [`assay_attestations_total{instance="${instance}",result="accepted",reason="none"}`, '7x90'],
      [`assay_nodes{instance="${instance}",state="unknown"}`, '0x90'],
      [`assay_nodes{instance="${instance}",state="trusted"}`, '3x90'],
    ],
    '20m',
    { alert: 'AssayNoAnswers', labels: of() },
  ],
  [
    'connections of agents turned away while a node is silent',
    [
      [`assay_door_refusals_total{instance="${instance}",port="agents",bound="rate"}`, '0+5x90'],
      [`assay_nodes{instance="${instance}",state="unknown"}`, '1x90'],
      [`assay_nodes{instance="${instance}",state="trusted"}`, '9x90'],
    ],
    '30m',
    { alert: 'AssayAgentsTurnedAway', labels: of({ bound: 'rate' }) },
  ],
  [
    'many refusals',
    [[`assay_refusals_total{instance="${instance}",code="malformed"}`, '0+10x90']],
    '30m',
    { alert: 'AssayRefusalsRise', labels: of({ code: 'malformed' }), value: '150' },
  ],
  [
    'an audit log that is another one',
    [[`assay_refusals_total{instance="${instance}",code="audit_rollback"}`, '0 0 1x90']],
    '5m',
    { alert: 'AssayAuditRollback', labels: of({ code: 'audit_rollback' }) },
  ],
  [
    'an audit log that is shorter',
    [[`assay_audit_checkpoint_size{instance="${instance}"}`, '90x20 80x90']],
    '25m',
    { alert: 'AssayAuditShorter', labels: of() },
  ],
  [
    'an audit log that cannot be written',
    [[`assay_audit_write_failures_total{instance="${instance}"}`, '0 0 1x90']],
    '5m',
    { alert: 'AssayAuditNotWritten', labels: of() },
  ],
  [
    'a row that cannot be read',
    [[`assay_store_unreadable_rows_total{instance="${instance}",table="history"}`, '1x90']],
    '5m',
    { alert: 'AssayStoreUnreadable', labels: of({ table: 'history' }), value: '1' },
  ],
  [
    'a disk that is full in two days, as it fills',
    [[`assay_state_free_bytes{instance="${instance}"}`, '30067108864-10000000x1600']],
    '10h',
    { alert: 'AssayDiskFills', labels: of(), value: '1d 16h 0m 0s' },
  ],
  [
    'a backup that failed',
    [
      [`assay_backup_interval_seconds{instance="${instance}"}`, '86400x90'],
      [`assay_backup_failed{instance="${instance}"}`, '1x90'],
    ],
    '40m',
    { alert: 'AssayBackupMissing', labels: of() },
  ],
  [
    'backups that do not come',
    [
      [`assay_backup_interval_seconds{instance="${instance}"}`, '3600x200'],
      [`assay_backup_failed{instance="${instance}"}`, '0x200'],
      [`assay_backup_last_success_timestamp_seconds{instance="${instance}"}`, '0x200'],
    ],
    '155m',
    { alert: 'AssayBackupMissing', labels: of() },
  ],
  [
    'a faulty file',
    [[`assay_reload_faulty{instance="${instance}",part="policy"}`, '1x90']],
    '5m',
    { alert: 'AssayReloadFailed', labels: of({ part: 'policy' }) },
  ],
  [
    'a policy that is refused for what it would do, which is no faulty file',
    [
      [`assay_reload_faulty{instance="${instance}",part="policy"}`, '1x90'],
      [`assay_policy_refused_nodes{instance="${instance}",part="policy"}`, '37x90'],
    ],
    '5m',
    { alert: 'AssayPolicyRefused', labels: of({ part: 'policy' }), value: '37' },
  ],
  [
    'a policy that could not be compared',
    [
      [`assay_reload_faulty{instance="${instance}",part="declared"}`, '1x90'],
      [`assay_policy_refused_nodes{instance="${instance}",part="declared"}`, '-1x90'],
    ],
    '5m',
    { alert: 'AssayPolicyRefused', labels: of({ part: 'declared' }), value: '-1' },
  ],
  [
    'a certificate that cannot be made anew',
    [[`assay_certificate_renewal_failures_total{instance="${instance}"}`, '0 0 1x90']],
    '5m',
    { alert: 'AssayCertificateNotRenewed', labels: of() },
  ],
  [
    'a certificate that ends',
    [[`assay_certificate_expiry_timestamp_seconds{instance="${instance}",certificate="server"}`, '86400x90']],
    '1h',
    { alert: 'AssayCertificateEnds', labels: of({ certificate: 'server' }), value: '23h 0m 0s' },
  ],
  [
    'an authority that ends',
    [
      [
        `assay_certificate_expiry_timestamp_seconds{instance="${instance}",certificate="authority"}`,
        '8640000x90',
      ],
    ],
    '0m',
    { alert: 'AssayAuthorityEnds', labels: of({ certificate: 'authority' }), value: '100d 0h 0m 0s' },
  ],
];

const series = (name: string, labels: Readonly<Record<string, string>> = {}) =>
  `assay_${name}${labelsText({ instance, ...labels })}`;

/** What nearly is an alert, and is none at any of these times. */
const quiet: Readonly<Record<string, Scraped>> = {
  AssayNodeFailed: [...healthyNode('node-2'), [series('refusals_total', { code: 'sig_invalid' }), '0+1x90']],
  AssayNodePosture: seriesOf({ name: 'node-2', state: 'trusted', class: null, signed: false }),
  AssayNodesUntrusted: [[series('nodes', { state: 'untrusted' }), '0x90']],
  AssayPolicyChangedMany: [[series('nodes_turned', { change: 'policy' }), '0x90']],
  AssayNodePending: [
    [series('node_state', { node: 'node-2', state: 'pending' }), '1x25 0x65'],
    [series('node_reason_info', { ...reasonOf('rebooted'), class: 'service' }), '1x25 stale'],
  ],
  AssayNodeSilent: [
    [series('node_state', { node: 'node-2', state: 'unknown' }), '1x8 0x80'],
    [series('node_reason_info', { ...reasonOf('evidence_overdue'), class: 'service' }), '1x8 stale'],
  ],
  AssayManyNodesSilent: [
    [series('nodes', { state: 'unknown' }), '4x90'],
    [series('nodes_missing'), '3x90'],
    [series('nodes', { state: 'trusted' }), '9x90'],
  ],
  AssayNodeNotTrustedForADay: [[series('node_last_success_timestamp_seconds', { node: 'node-2' }), '0x90']],
  // An update: one reboot, and then another.
  AssayNodeFlapping: [[series('node_trusted', { node: 'node-2' }), '1x5 0x2 1x9 0x2 1x90']],
  AssayAgentMissing: [[series('node_without_agent', { node: 'node-9' }), '1x25 stale']],
  AssayAgentsMissing: [[series('nodes_without_agent'), '4x25 0x90']],
  AssaySilentNodesClaimed: [[series('nodes_silent_claimed'), '3x8 0x90']],
  AssayMachinesWithoutTpm: [[series('nodes_claimed_without_tpm'), '5x25 0x90']],
  AssayKeyToNewAddress: [[series('key_releases_new_address_total'), '2x90']],
  AssayKeyWouldBeRefused: [
    [series('nodes_next_boot', { answer: 'would_not', key: 'no' }), '2x10 0x90'],
    [series('nodes_next_boot', { answer: 'unknown', key: 'yes' }), '4x90'],
  ],
  AssayKeyRefused: [[series('key_refusals_total', { code: 'key_withheld' }), '7x90']],
  AssayMassFailure: [
    [series('mass_failure_nodes', { code: 'kernel_unknown' }), '0x90'],
    [series('mass_failure_nodes', { code: 'initrd_unknown' }), '0x90'],
  ],
  AssayCircuitBreakerOpen: [
    [series('circuit_breaker_open', { scope: 'clock' }), '1x90'],
    [series('circuit_breaker_open', { scope: 'drift' }), '0x90'],
  ],
  AssayEnforcementDrift: [
    [series('enforcement_wrong_nodes'), '4x90'],
    [series('enforcement_leader'), '0x90'],
  ],
  // Some hundred new Nodes wait for their turn.
  AssayResourceRefused: [[series('enforcement_wrong_resources', { shows: 'none' }), '300x8 0x90']],
  AssayNobodyMarks: [
    [series('enforcement_mode', { mode: 'observe' }), '4x90'],
    [series('enforcement_mode', { mode: 'enforce' }), '0x90'],
    [series('enforcement_leader'), '0x90'],
  ],
  // Somebody takes it for a change of another, and brings it back.
  AssayMarksUnprotected: [
    [series('admission_fault', { protects: 'marks', cause: 'missing' }), '1x8 0x90'],
    [series('admission_fault', { protects: 'marks', cause: 'not_denying' }), '0x90'],
  ],
  AssayClusterUnread: [[series('cluster_fault', { cause: 'unreachable' }), '1x8 0x90']],
  AssayServerGone: [[series('build_info', { version: '0.2.0' }), '1x10 _x3 1x90']],
  AssayServerNotReady: [[series('ready'), '1x10 0 1x90']],
  AssayTrial: [[series('trial'), '1x9 0x90']],
  AssayServerFault: [[series('server_faults_total', { cause: 'disk_full' }), '0x10 1x90']],
  AssayNoAnswers: [
    [series('attestations_total', { result: 'accepted', reason: 'none' }), '0x90'],
    [series('nodes', { state: 'unsupported' }), '3x90'],
  ],
  AssayAgentsTurnedAway: [
    [series('door_refusals_total', { port: 'agents', bound: 'rate' }), '0+5x90'],
    [series('nodes', { state: 'unknown' }), '0x90'],
  ],
  AssayRefusalsRise: [[series('refusals_total', { code: 'malformed' }), '0+3x90']],
  AssayAuditRollback: [[series('refusals_total', { code: 'audit_rollback' }), '1x90']],
  AssayAuditShorter: [[series('audit_checkpoint_size'), '0x10 80+2x90']],
  AssayAuditNotWritten: [[series('audit_write_failures_total'), '3x90']],
  AssayStoreUnreadable: [[series('store_unreadable_rows_total', { table: 'history' }), '0x90']],
  // An hour in which much is written, and a disk that has been nearly full for long.
  AssayDiskFills: [
    [series('state_free_bytes'), '50000000000x60 50000000000-100000000x60 44000000000x1400'],
    [`assay_state_free_bytes{instance="other:9464"}`, '80000000x1500'],
  ],
  // It makes none by itself; and one that failed once.
  AssayBackupMissing: [
    [series('backup_interval_seconds'), '0x90'],
    [series('backup_last_success_timestamp_seconds'), '0x90'],
    [`assay_backup_interval_seconds{instance="other:9464"}`, '86400x90'],
    [`assay_backup_failed{instance="other:9464"}`, '0x5 1x20 0x60'],
  ],
  AssayReloadFailed: [[series('reload_faulty', { part: 'policy' }), '1 1 0x90']],
  AssayPolicyRefused: [[series('policy_refused_nodes', { part: 'policy' }), '37 37 0x90']],
  AssayWebhookFailing: [
    [series('webhook_oldest_timestamp_seconds'), '0x90'],
    [series('webhook_queue_length'), '0x90'],
  ],
  AssayCertificateNotRenewed: [[series('certificate_renewal_failures_total'), '1x90']],
  AssayCertificateEnds: [
    [series('certificate_expiry_timestamp_seconds', { certificate: 'server' }), '864000x90'],
  ],
  AssayAuthorityEnds: [
    [series('certificate_expiry_timestamp_seconds', { certificate: 'authority' }), '17280000x90'],
  ],
};

function healthyNode(name: string): Scraped {
  return seriesOf({ name, state: 'trusted', class: null, signed: false });
}

function withHealthy(scraped: Scraped): Scraped {
  const own = scraped.map(([name]) => name);
  return [...healthy.filter(([name]) => !own.includes(name)), ...scraped];
}

/** The same as scraped by a Prometheus that scrapes other clusters too. */
function inCluster(name: string, scraped: Scraped): Scraped {
  return scraped.map(([series, values]) => [
    series.replace(`instance="${instance}"`, `cluster="${name}",instance="${name}:9464"`),
    values,
  ]);
}

function firedIn(cluster: string, fired: Fired): Fired {
  const { instance: its } = fired.labels;
  return {
    ...fired,
    labels: { ...fired.labels, cluster, ...(its === instance && { instance: `${cluster}:9464` }) },
  };
}

/** What fires at each of these times. */
function assertTimes(scraped: Scraped, fires: RuleCase['fires']): Promise<void> {
  return assertCases([{ name: 'series', scraped, fires }]);
}

function reasonOf(code: string) {
  return { node: 'node-2', code, signed: 'false' };
}

describe('the alert rules for Prometheus', () => {
  it('are such, as promtool reads them', async () => {
    assert.match(await promtool('check', 'rules', rulesFile), /SUCCESS: \d+ rules found/);
  });

  it('name each node that is not trusted by one alert, with its code, once it is time', async () => {
    const firedAfter = (minutes: number) =>
      nodes.flatMap((node): Fired[] => {
        const [alert, from] = alertOf(node) ?? [null, 0];
        if (alert === null || minutes < from) return [];
        const labels =
          alert === 'AssayNodeUntrusted' || node.class === null
            ? { instance, node: node.name, state: node.state }
            : reasonLabels(node, node.class);
        return [{ alert, labels }];
      });
    await assertTimes([...healthy, ...nodes.flatMap(seriesOf)], {
      '0m': firedAfter(0),
      '20m': firedAfter(20),
      '60m': firedAfter(60),
    });
  });

  for (const [what, state, alert, from] of [
    ['a ticket of a node that never sent IMA’s list', 'pending', 'AssayNodePending', 30],
    ['somebody up for one that sent it before', 'untrusted', 'AssayNodeFailed', 0],
  ] as const)
    it(`get ${what}`, async () => {
      const labels = { instance, ...reasonOf('ima_incomplete'), class: 'failed' };
      const scraped: Scraped = [
        ...healthy,
        ...stateSeries({ name: 'node-2', state, class: 'failed', signed: false }),
        [`assay_node_reason_info${labelsText(labels)}`, '1x90'],
      ];
      const fired = [{ alert, labels }];
      await assertTimes(scraped, { '5m': from > 5 ? [] : fired, '40m': fired });
    });

  it('tell of five nodes that a change of ours turned by one alert, and name the one that is wrong besides (row 384)', async () => {
    const reasons = ['failed', 'posture', 'drift', 'drift', 'service'] as const;
    const turned = reasons.map((is, index): Node => {
      return { name: `node-${index}`, state: 'untrusted', class: is, signed: index === 3 };
    });
    const wrong: Node = { name: 'node-9', state: 'untrusted', class: 'posture', signed: false };
    const scraped: Scraped = [
      ...healthy,
      [`assay_nodes_turned{instance="${instance}",change="policy"}`, '5x90'],
      [`assay_nodes{instance="${instance}",state="untrusted"}`, '6x90'],
      ...turned.flatMap((node) => [
        ...stateSeries(node),
        [
          `assay_node_reason_info${labelsText({ ...reasonLabels(node, node.class ?? 'failed'), ours: 'true' })}`,
          '1x90',
        ] as const,
      ]),
      ...seriesOf(wrong),
    ];
    await assertFires(scraped, '5m', [
      { alert: 'AssayPolicyChangedMany', labels: { instance, change: 'policy' }, value: '5' },
      { alert: 'AssayNodePosture', labels: reasonLabels(wrong, 'posture') },
    ]);
    const withoutNames = scraped.filter(([series]) => !series.startsWith('assay_node_'));
    await assertFires(withoutNames, '5m', [
      { alert: 'AssayPolicyChangedMany', labels: { instance, change: 'policy' }, value: '5' },
      { alert: 'AssayNodesUntrusted', labels: { instance, state: 'untrusted' }, value: '1' },
    ]);
  });

  it('say how each silent node came to be so, by the words that the server has then', async () => {
    const node: Node = { name: 'node-2', state: 'unknown', class: 'service', signed: false };
    const told: readonly (readonly [object, string])[] = [
      [{ connection: 'agent', says: 'tpm_broker' }, 'Its agent closed the connection, and said: tpm_broker.'],
      [{ connection: 'agent' }, 'Its agent closed the connection.'],
      [
        { connection: 'reset', kubelet: 'True' },
        'Its connection broke off without a goodbye: its agent was killed, or its machine began anew. The condition Ready of its Node is True.',
      ],
      [
        { connection: 'timeout', kubelet: 'Unknown', claimed: 'true' },
        'Nothing comes from it any more: its machine is off, its network is cut, or it hangs. The condition Ready of its Node is Unknown. Another TPM claims its name.',
      ],
      [{ connection: 'server' }, 'The server closed its connection.'],
      [{ connection: 'connected' }, 'It is connected, and does not answer.'],
      [{ connection: 'none' }, 'It has not been connected since the server started.'],
    ];
    const cases = told.map(([labels, description], at): RuleCase => {
      const its = { says: '', kubelet: '', claimed: 'false', ...labels, instance, node: node.name };
      const silence = [[`assay_node_silence_info${labelsText(its)}`, '1x90']] as const;
      const fired = { alert: 'AssayNodeSilent', labels: reasonLabels(node, 'service'), description };
      return {
        name: `${at}`,
        scraped: [...healthy, ...seriesOf(node), ...silence],
        fires: { '11m': [fired] },
      };
    });
    await assertCases(cases);
  });

  it('leave a node in peace of which somebody announced a change', async () => {
    const labels = { instance, ...reasonOf('change_expected'), class: 'service' };
    const scraped: Scraped = [
      ...healthy,
      ...stateSeries({ name: 'node-2', state: 'pending', class: 'service', signed: false }),
      [`assay_node_reason_info${labelsText(labels)}`, '1x90'],
    ];
    await assertTimes(scraped, { '5m': [], '40m': [], '80m': [] });
  });

  it('tell of each fault of the server and the fleet by one alert, and of nothing else', async () => {
    // Those that are told after as long, each in a cluster of its own; that a server is gone is asked of all at once.
    const [gone, others] = [true, false].map((isGone) =>
      ofServer.filter(([, , , { alert }]) => (alert === 'AssayServerGone') === isGone),
    );
    const byTime = Map.groupBy(others ?? [], ([, , after]) => after);
    await assertCases([
      ...(gone ?? []).map(([name, scraped, after, fired]) => ({
        name,
        scraped: withHealthy(scraped),
        fires: { [after]: [fired] },
      })),
      ...[...byTime].map(([after, cases]) => ({
        name: `after ${after}`,
        scraped: cases.flatMap(([what, scraped]) => inCluster(what, withHealthy(scraped))),
        fires: { [after]: cases.map(([what, , , fired]) => firedIn(what, fired)) },
        ...(after === '25h' && { every: '15m' as const }),
      })),
    ]);
  });

  it('are quiet where it is nearly an alert, in each of as many clusters as there are alerts', async () => {
    const fires = { '5m': [], '12m': [], '30m': [], '60m': [] };
    // That a server is gone is asked of all clusters at once.
    const { AssayServerGone: gone = [], ...others } = quiet;
    await assertCases([
      { name: 'nearly AssayServerGone', scraped: withHealthy(gone), fires },
      {
        name: 'nearly each other',
        scraped: Object.entries(others).flatMap(([name, scraped]) => inCluster(name, withHealthy(scraped))),
        fires,
      },
    ]);
  });

  it('are quiet about nodes that are asked less often than the rules look', async () => {
    const scraped: Scraped = [
      [series('attestations_total', { result: 'accepted', reason: 'none' }), '7x90'],
      [series('nodes', { state: 'trusted' }), '3x90'],
      [series('challenge_interval_seconds'), '3600x90'],
    ];
    await assertFires([...healthy, ...scraped], '30m', []);
  });

  it('give nodes time to answer a server that was away for two days', async () => {
    const lastSuccess = series('node_last_success_timestamp_seconds', { node: 'node-2' });
    const scraped = [[lastSuccess, `60 stale _x2878 60 172860x30`] as const];
    const healthyThen = healthy.map(([one]) => [one, '1x2920'] as const);
    await assertFires([...healthyThen, ...scraped], '2880m', [], { every: '15m' });
  });

  it('name each of two clusters in which nobody marks, where one Prometheus scrapes both', async () => {
    const marking = (cluster: string, isLed: string): Scraped => [
      [`assay_enforcement_mode{cluster="${cluster}",instance="${cluster}:9464",mode="enforce"}`, '4x90'],
      [`assay_enforcement_leader{cluster="${cluster}",instance="${cluster}:9464"}`, isLed],
    ];
    await assertFires([...healthy, ...marking('one', '1x90'), ...marking('two', '0x90')], '20m', [
      { alert: 'AssayNobodyMarks', labels: { cluster: 'two' } },
    ]);
  });

  it('go on about many nodes that fail the same way while three still do, and end after what is told of each', async () => {
    const alike = [1, 2, 3].map(
      (index): Node => ({ name: `node-${index}`, state: 'untrusted', class: 'drift', signed: false }),
    );
    // In the twentieth minute a reference comes.
    const failing = alike.flatMap(
      (node): Scraped => [
        [series('node_state', { node: node.name, state: 'untrusted' }), '1x20 0x70'],
        [`assay_node_reason_info${labelsText(reasonLabels(node, 'drift'))}`, '1x20 stale'],
      ],
    );
    const scraped = [
      ...healthy,
      ...failing,
      [series('mass_failure_nodes', { code: 'kernel_unknown' }), '3x10 0x80'] as const,
    ];
    const mass: Fired = { alert: 'AssayMassFailure', labels: of({ code: 'kernel_unknown' }), value: '3' };
    const each = alike.map(
      (node): Fired => ({ alert: 'AssayNodeChanged', labels: reasonLabels(node, 'drift') }),
    );
    await assertTimes(scraped, {
      '5m': [mass, ...each],
      '18m': [mass, ...each],
      '28m': [mass],
      '40m': [],
    });
  });

  it('tell twice of an authority that ends soon: somebody must do it now', async () => {
    const series = `assay_certificate_expiry_timestamp_seconds{instance="${instance}",certificate="authority"}`;
    const labels = of({ certificate: 'authority' });
    await assertFires([...healthy, [series, '864000x90']], '0m', [
      { alert: 'AssayAuthorityEnds', labels, value: '10d 0h 0m 0s' },
      { alert: 'AssayAuthorityEndsSoon', labels, value: '10d 0h 0m 0s' },
    ]);
  });

  it('tell that there is no server', async () => {
    await assertFires([], '10m', [{ alert: 'AssayServerGone', labels: {} }]);
  });

  it('go on about a node over a scrape that is missed, as while the server starts anew: nobody is woken twice', async () => {
    const found = nodes.filter(({ state, class: is }) => state === 'untrusted' || is === 'failed');
    const missed = found
      .flatMap(seriesOf)
      .map(([series, value]) => [series, value.replace(/^(.)x90$/, '$1x20 stale $1x90')] as const);
    const fired = found.flatMap((node): Fired[] => {
      const alert = alertOf(node)?.[0];
      if (alert === undefined || node.class === null) return [];
      const labels =
        alert === 'AssayNodeUntrusted'
          ? { instance, node: node.name, state: node.state }
          : reasonLabels(node, node.class);
      return [{ alert, labels }];
    });
    await assertTimes([...healthy, ...missed], { '21m': fired, '30m': fired });
  });

  it('do not call one node many, where a small cluster has one that boots slowly', async () => {
    const counts: Scraped = [
      [`assay_nodes{instance="${instance}",state="unknown"}`, '1x90'],
      [`assay_nodes{instance="${instance}",state="trusted"}`, '2x90'],
    ];
    await assertFires([...healthy, ...counts], '20m', []);
  });

  it('are quiet where all is well', async () => {
    await assertFires(
      [...healthy, ...seriesOf({ name: 'good', state: 'trusted', class: null, signed: false })],
      '1h',
      [],
    );
  });

  it('are each tried by one of these tests', async () => {
    const tried = new Set([
      ...nodes.flatMap((node) => alertOf(node)?.[0] ?? []),
      ...ofServer.map(([, , , { alert }]) => alert),
      ...['AssayAuthorityEndsSoon', 'AssayServerGone'],
    ]);
    const alerts = (await readRules()).map(({ alert }) => alert);
    assert.deepEqual([...tried].sort(), alerts.sort());
    // Of a node in each state the table of nodes says when nothing is told.
    const ofNodes = [
      'AssayNodeChanged',
      'AssayNodeChangedSigned',
      'AssayNodeUntrusted',
      'AssayAuthorityEndsSoon',
    ];
    assert.deepEqual([...Object.keys(quiet), ...ofNodes].sort(), alerts);
  });
});
