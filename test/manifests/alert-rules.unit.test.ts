import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { type ReasonClass, reasonClasses } from '../../attest-server/protocol/reasons.ts';
import { type NodeState, nodeStates } from '../../attest-server/protocol/verdict.ts';
import { assertFires, type Fired, promtool, readRules, rulesFile, type Scraped } from './promtool.ts';

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
    'many nodes that fail alike',
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
    'a cluster that cannot be read',
    [[`assay_cluster_fault{instance="${instance}",cause="forbidden"}`, '1x90']],
    '11m',
    { alert: 'AssayClusterUnread', labels: of({ cause: 'forbidden' }) },
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
    'a faulty file',
    [[`assay_reload_failures_total{instance="${instance}",part="policy"}`, '0 0 1x90']],
    '5m',
    { alert: 'AssayReloadFailed', labels: of({ part: 'policy' }) },
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

describe('the alert rules for Prometheus', () => {
  it('are such, as promtool reads them', async () => {
    assert.match(await promtool('check', 'rules', rulesFile), /SUCCESS: \d+ rules found/);
  });

  for (const minutes of [0, 20, 60])
    it(`name each node that is not trusted by one alert, with its code, once it is time (${minutes} min)`, async () => {
      const fired = nodes.flatMap((node): Fired[] => {
        const [alert, from] = alertOf(node) ?? [null, 0];
        if (alert === null || minutes < from) return [];
        const labels =
          alert === 'AssayNodeUntrusted' || node.class === null
            ? { instance, node: node.name, state: node.state }
            : reasonLabels(node, node.class);
        return [{ alert, labels }];
      });
      await assertFires([...healthy, ...nodes.flatMap(seriesOf)], `${minutes}m`, fired);
    });

  for (const [what, scraped, after, fired] of ofServer)
    it(`tell of ${what}, and of nothing else`, async () => {
      const own = scraped.map(([series]) => series);
      const others = healthy.filter(([series]) => !own.includes(series));
      await assertFires([...others, ...scraped], after, [fired]);
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
    await assertFires([...healthy, ...missed], '21m', fired);
    await assertFires([...healthy, ...missed], '30m', fired);
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

  it('are told of in a section each, which the alert names', async () => {
    const text = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'watching.md'), 'utf8');
    const sections = [...text.matchAll(/^### (Assay\w+)$/gm)].map(([, name]) => name);
    const rules = await readRules();
    assert.deepEqual(sections.sort(), rules.map(({ alert }) => alert).sort());
    for (const { alert, annotations } of rules)
      assert.equal(annotations.runbook, `docs/watching.md#${alert.toLowerCase()}`);
  });

  it('are each tried by one of these tests', async () => {
    const tried = new Set([
      ...nodes.flatMap((node) => alertOf(node)?.[0] ?? []),
      ...ofServer.map(([, , , { alert }]) => alert),
      ...['AssayAuthorityEndsSoon', 'AssayServerGone'],
    ]);
    assert.deepEqual([...tried].sort(), (await readRules()).map(({ alert }) => alert).sort());
  });
});
