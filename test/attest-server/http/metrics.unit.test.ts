import assert from 'node:assert/strict';
import { request } from 'node:http';
import { describe, it } from 'mocha';
import { attestFigures, attestReport } from '../../../attest-server/attest/telemetry.ts';
import { channelReport } from '../../../attest-server/channel/telemetry.ts';
import { hitBounds } from '../../../attest-server/door/bounds.ts';
import { admissionReport } from '../../../attest-server/door/telemetry.ts';
import { listenPlainly } from '../../../attest-server/http/listen.ts';
import { nodeView, unsupportedView, withAbsence } from '../../../attest-server/http/node-view.ts';
import { createProbes } from '../../../attest-server/http/probes.ts';
import { httpReport } from '../../../attest-server/http/telemetry.ts';
import { presenceFigures } from '../../../attest-server/presence/telemetry.ts';
import { reasonCodes } from '../../../attest-server/wire/reasons.ts';
import { nodeStates } from '../../../attest-server/wire/verdict.ts';
import { quietAdmission } from '../door/quiet-admission.ts';
import { madeTelemetry } from '../telemetry/made-telemetry.ts';
import { emptyWorld, enrolled, now, portsOf, reasonOf, statusOf, verdictOf } from './api-fixture.ts';

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Reads the Prometheus text format; a line that is none is a failure. */
function parseSamples(text: string): Sample[] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, name = '', labels = '', value = ''] =
        /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? assert.fail(line);
      const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = '', word = '']) => [
        key,
        word,
      ]);
      return { name, labels: Object.fromEntries(pairs), value: Number(value) };
    });
}

const trusted = nodeView(statusOf('node-1', verdictOf()), enrolled('node-1'), now, null);
const broken = nodeView(
  statusOf(
    'node-2',
    verdictOf({
      state: 'untrusted',
      reasons: [reasonOf('kernel_unknown')],
      aspects: {
        identity: { status: 'affirming', source: 'tpm' },
        boot: { status: 'contraindicated', source: 'tpm' },
      },
    }),
  ),
  enrolled('node-2'),
  now,
  null,
);

describe('the metrics', () => {
  it('tell the states of the nodes, and forget a node that is gone', async () => {
    const { scraped: metrics } = madeTelemetry();
    metrics.nodeStates([trusted, broken]);
    const value = async (name: string, labels: object) =>
      parseSamples(await metrics.text()).find(
        (sample) => sample.name === name && JSON.stringify(sample.labels) === JSON.stringify(labels),
      )?.value;
    assert.equal(await value('assay_nodes', { state: 'trusted' }), 1);
    assert.equal(await value('assay_nodes', { state: 'untrusted' }), 1);
    assert.equal(await value('assay_node_trusted', { node: 'node-2' }), 0);
    assert.equal(await value('assay_node_state', { node: 'node-2', state: 'untrusted' }), 1);
    assert.equal(await value('assay_node_state', { node: 'node-2', state: 'trusted' }), 0);
    const reason = { node: 'node-2', code: 'kernel_unknown', class: 'drift', signed: 'false', ours: 'false' };
    assert.equal(await value('assay_node_reason_info', reason), 1);
    assert.equal(await value('assay_nodes_turned', { change: 'policy' }), 0);
    assert.equal(await value('assay_nodes_failing_check', { check: 'boot' }), 1);
    assert.equal(
      await value('assay_node_last_success_timestamp_seconds', { node: 'node-1' }),
      now / 1000 - 5,
    );
    metrics.nodeStates([broken]);
    assert.equal(await value('assay_node_last_success_timestamp_seconds', { node: 'node-1' }), undefined);
    assert.equal(await value('assay_node_trusted', { node: 'node-1' }), undefined);
    assert.equal(await value('assay_nodes', { state: 'trusted' }), 0);
    assert.equal(await value('assay_node_state', { node: 'node-1', state: 'trusted' }), undefined);
    assert.equal(await value('assay_node_reason_info', { ...reason, node: 'node-1' }), undefined);
  });

  it('say of a node that is not trusted when it last was', async () => {
    const { scraped: metrics } = madeTelemetry();
    const of = (name: string, trustedAt: number | null) =>
      nodeView(
        statusOf(name, verdictOf({ state: 'untrusted', reasons: [reasonOf('kernel_unknown')] }), {
          trustedAt,
        }),
        enrolled(name),
        now,
        null,
      );
    metrics.nodeStates([of('once', now - 60_000), of('never', null)]);
    const found = parseSamples(await metrics.text()).filter(
      ({ name }) => name === 'assay_node_last_success_timestamp_seconds',
    );
    assert.deepEqual(
      found.map(({ labels, value }) => [labels.node, value]),
      [['once', now / 1000 - 60]],
    );
  });

  it('name one reason of each node that is not trusted, and no other', async () => {
    const { scraped: metrics } = madeTelemetry();
    const silent = nodeView(
      statusOf('silent', verdictOf(), { expiresAt: now - 1 }),
      enrolled('silent'),
      now,
      null,
    );
    const fresh = nodeView(null, enrolled('fresh'), now, null);
    metrics.nodeStates([trusted, broken, silent, fresh]);
    const found = parseSamples(await metrics.text()).filter(({ name }) => name === 'assay_node_reason_info');
    assert.deepEqual(
      found.map(({ labels }) => [labels.node, labels.code, labels.class]),
      [
        ['node-2', 'kernel_unknown', 'drift'],
        ['silent', 'evidence_overdue', 'service'],
        ['fresh', 'enrolment_pending', 'service'],
      ],
    );
  });

  it('tell how a silent node came to be so in words of closed lists, and count those that are claimed (row 402)', async () => {
    const world = emptyWorld();
    const { scraped: metrics } = madeTelemetry();
    const late = { verifiedAt: now - 600_000, expiresAt: now - 1 };
    for (const name of ['closed', 'strange', 'standing', 'unseen', 'good'])
      world.nodes.set(name, {
        enrolled: enrolled(name),
        status: statusOf(name, verdictOf(), name === 'good' ? {} : late),
      });
    const end = { at: now - 500_000, heardAt: now - 500_000, by: 'agent', status: 1011 } as const;
    world.ended.set('closed', { ...end, reason: 'tpm_broker' });
    world.ended.set('strange', { ...end, by: 'server', status: 1008, reason: 'any "text"' });
    world.ended.set('good', { ...end, reason: 'stopped' });
    world.connected.set('standing', {
      address: '10.0.0.2',
      agent: '0.4.0',
      since: now - 900_000,
      heardAt: now,
    });
    world.kubelets.set('closed', 'True');
    // A stranger claims every name, good ones too, from many addresses.
    for (const node of world.nodes.keys())
      for (let at = 0; at < 8; at += 1)
        world.claims.push({
          node,
          ekDigest: at.toString(16).repeat(64),
          code: 'enrolment_pending',
          text: null,
          attempts: 1,
          firstSeen: now - 1_000,
          // A claim of before its last proof is no cause.
          lastSeen: node === 'unseen' ? now - 700_000 : now - 1_000,
          address: `10.9.0.${at}`,
        });
    const listener = createProbes({ ...portsOf(world), metrics, scrapeKeptFor: 0 });
    await using server = await listenPlainly(listener, { host: '127.0.0.1', port: 0 }, quietAdmission());
    const samples = parseSamples((await get(server.port, '/metrics')).body);
    assert.deepEqual(
      samples
        .filter(({ name }) => name === 'assay_node_silence_info')
        .map(({ labels }) => Object.values(labels).join('|')),
      [
        'closed|agent|tpm_broker|True|true',
        'standing|connected|||true',
        'strange|server|||true',
        'unseen|none|||false',
      ],
    );
    assert.equal(samples.find(({ name }) => name === 'assay_nodes_silent_claimed')?.value, 3);
  });

  it('tell nobody of a silent node that its cluster does not have, and count it apart', async () => {
    const { reporting, scraped: metrics } = madeTelemetry();
    presenceFigures(reporting.figures, () => ({ gone: 3, doubt: 'own_node' }));
    const absence = { missingSince: now - 60_000, goneAt: null };
    const silent = nodeView(
      statusOf('silent', verdictOf(), { expiresAt: now - 1 }),
      enrolled('silent'),
      now,
      null,
    );
    metrics.nodeStates([trusted, withAbsence(broken, absence), withAbsence(silent, absence)]);
    const text = await metrics.text();
    const reasons = parseSamples(text).filter(({ name }) => name === 'assay_node_reason_info');
    assert.deepEqual(
      reasons.map(({ labels }) => labels.node),
      ['node-2'],
    );
    for (const line of [
      'assay_nodes_missing 1',
      'assay_nodes{state="unknown"} 1',
      'assay_nodes_gone 3',
      'assay_presence_doubt{cause="own_node"} 1',
      'assay_presence_doubt{cause="empty"} 0',
    ])
      assert.ok(text.split('\n').includes(line), line);
  });

  it('name the Nodes of the cluster that have never proven themselves, and none that policy excuses', async () => {
    const unsupported = unsupportedView({ name: 'gpu-1', group: 'gpu', mode: 'observe', policy: 'p' });
    for (const perNode of [true, false]) {
      const { scraped: metrics } = madeTelemetry({
        perNode,
        unenrolled: () => ['gpu-1', 'gpu-2', 'node-9'],
        claimedWithoutTpm: () => ['gpu-2'],
      });
      metrics.nodeStates([trusted, unsupported]);
      const found = parseSamples(await metrics.text());
      const named = found.filter(({ name }) => name === 'assay_node_without_agent');
      assert.deepEqual(
        named.map(({ labels }) => labels.node),
        perNode ? ['node-9'] : [],
      );
      assert.equal(found.find(({ name }) => name === 'assay_nodes_without_agent')?.value, 1);
      assert.equal(found.find(({ name }) => name === 'assay_nodes_claimed_without_tpm')?.value, 1);
    }
  });

  it('say which nodes flap, as it is at each scrape', async () => {
    for (const perNode of [true, false]) {
      const { scraped: metrics } = madeTelemetry({ perNode, flapping: () => ['node-2'] });
      metrics.nodeStates([]);
      const found = parseSamples(await metrics.text()).filter(({ name }) => name.includes('flapping'));
      assert.deepEqual(
        found.map(({ name, labels, value }) => [name, labels.node, value]),
        [['assay_nodes_flapping', undefined, 1], ...(perNode ? [['assay_node_flapping', 'node-2', 1]] : [])],
      );
    }
  });

  it('say what the pipeline waits for, how much came, and who costs too much, as it is at each scrape', async () => {
    const { figures } = madeTelemetry().reporting;
    let initrds = { waiting: 3, received: 1000, kept: 10 };
    attestFigures(figures, {
      initrdFigures: () => initrds,
      judgingFigures: () => ({ spent: 2, waiting: 5 }),
    });
    const shown = async () =>
      parseSamples(await figures.text())
        .filter(({ name }) => /^assay_(initrd|nodes_over|heavy)/.test(name))
        .map(({ name, value }) => [name, value]);
    const expected = (waiting: number, kept: number, received: number) => [
      ['assay_initrds_waiting', waiting],
      ['assay_initrd_manifest_bytes', kept],
      ['assay_initrd_received_bytes_total', received],
      ['assay_nodes_over_judging_share', 2],
      ['assay_heavy_answers_waiting', 5],
    ];
    assert.deepEqual(await shown(), expected(3, 10, 1000));
    initrds = { waiting: 0, received: 1500, kept: 12 };
    assert.deepEqual(await shown(), expected(0, 12, 1500));
  });

  it('call a change signed only where all that counts against the node is a signed change', async () => {
    const signed = { ...reasonOf('kernel_unknown'), signed: true } as const;
    const told = { ...reasonOf('kexec_possible'), severity: 'info' } as const;
    const table = [
      [[signed], 'true'],
      [[signed, told], 'true'],
      [[signed, { ...reasonOf('initrd_unknown'), signed: true }], 'true'],
      [[reasonOf('kernel_unknown')], 'false'],
      [[signed, reasonOf('initrd_unknown')], 'false'],
      [[signed, reasonOf('cmdline_policy')], 'false'],
      [[{ ...reasonOf('cmdline_policy'), signed: true }], 'false'],
      [[signed, reasonOf('counter_rollback')], 'false'],
    ] as const;
    for (const [reasons, said] of table) {
      const { scraped: metrics } = madeTelemetry();
      const verdict = verdictOf({ state: 'untrusted', reasons });
      metrics.nodeStates([nodeView(statusOf('node-2', verdict), enrolled('node-2'), now, null)]);
      const info = parseSamples(await metrics.text()).find(({ name }) => name === 'assay_node_reason_info');
      assert.equal(info?.labels.signed, said, reasons.map(({ code }) => code).join(' '));
    }
  });

  it('have no series of a node where these are switched off', async () => {
    const { scraped: metrics } = madeTelemetry({ perNode: false });
    metrics.nodeStates([trusted, broken]);
    const samples = parseSamples(await metrics.text());
    assert.deepEqual(
      samples.filter(({ labels }) => 'node' in labels),
      [],
    );
    assert.equal(
      samples.find(({ name, labels }) => name === 'assay_nodes' && labels.state === 'trusted')?.value,
      1,
    );
  });

  it('have every counter of a closed list from the start', async () => {
    const { reporting } = madeTelemetry();
    attestReport(reporting, { recorded() {}, failed() {} });
    admissionReport(reporting);
    const samples = parseSamples(await reporting.figures.text());
    const labelsOf = (metric: string, label: string) =>
      new Set(samples.filter(({ name }) => name === metric).map(({ labels }) => labels[label]));
    assert.deepEqual(labelsOf('assay_refusals_total', 'code'), new Set(reasonCodes));
    assert.deepEqual(labelsOf('assay_attestations_total', 'reason'), new Set(['none', ...reasonCodes]));
    assert.deepEqual(
      labelsOf('assay_attestations_total', 'result'),
      new Set(['accepted', 'rejected', 'fault']),
    );
    assert.deepEqual(labelsOf('assay_verdict_transitions_total', 'to'), new Set(nodeStates));
    assert.deepEqual(labelsOf('assay_door_refusals_total', 'bound'), new Set(hitBounds));
  });

  it('count what nodes would boot next, by answer and by whether a key waits for them', async () => {
    const { scraped: metrics } = madeTelemetry();
    const one = (answer: 'would' | 'would_not' | 'unknown', hasLease: boolean) => ({
      answer,
      hasLease,
      causes: [],
    });
    metrics.nextBoots([one('would_not', true), one('would_not', true), one('unknown', false)]);
    metrics.nextBoots([one('would_not', true), one('would', false)]);
    const samples = parseSamples(await metrics.text()).filter(({ name }) => name === 'assay_nodes_next_boot');
    assert.deepEqual(
      samples.filter(({ value }) => value > 0).map(({ labels, value }) => [labels.answer, labels.key, value]),
      [
        ['would', 'no', 1],
        ['would_not', 'yes', 1],
      ],
    );
    assert.equal(samples.length, 6);
  });

  it('are gathered once for all who ask within a moment', async () => {
    const world = emptyWorld();
    const ports = portsOf(world);
    let gathered = 0;
    const metrics = {
      ...madeTelemetry().scraped,
      nodeStates: () => {
        gathered += 1;
      },
    };
    await using listening = await listenPlainly(
      createProbes({ ...ports, metrics, scrapeKeptFor: 600_000 }),
      { host: '127.0.0.1', port: 0 },
      quietAdmission(),
    );
    const texts = await Promise.all(Array.from({ length: 20 }, () => get(listening.port, '/metrics')));
    assert.equal((await get(listening.port, '/metrics')).body, texts[0]?.body);
    assert.equal(gathered, 1);
  });

  it('take labels from closed sets, whatever agents and callers say', async () => {
    const { reporting } = madeTelemetry();
    const outcomes = attestReport(reporting, { recorded() {}, failed() {} });
    const said = ['0.1.0', 'x"} 1\nevil 1', ...Array.from({ length: 50 }, (_, i) => `9.9.${i}`)];
    channelReport(reporting.figures).connections(new Map(said.map((version) => [version, 1])), 0);
    httpReport(reporting).answered('EVIL\n', '/v1/nodes', 200, 0.1);
    const about = { node: null, isEnrolled: false, address: '192.0.2.1', isProven: false };
    outcomes.refused('sig_invalid', 'another key', about);
    outcomes.answered(verdictOf({ reasons: [] }));
    const samples = parseSamples(await reporting.figures.text());
    const versions = samples
      .filter(({ name }) => name === 'assay_agents')
      .map(({ labels }) => labels.version);
    assert.ok(versions.length <= 17);
    assert.ok(versions.includes('other'));
    const methods = new Set(samples.flatMap(({ labels }) => labels.method ?? []));
    assert.deepEqual([...methods], ['other']);
  });

  it('are those of the program, all with the prefix assay_, and of its process; counters end in _total', async () => {
    const { reporting, scraped } = madeTelemetry();
    for (const report of [httpReport, admissionReport]) report(reporting);
    attestReport(reporting, { recorded() {}, failed() {} });
    const text = await scraped.text();
    const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => ({
      name,
      type,
    }));
    assert.ok(types.length >= 15);
    assert.ok(types.some(({ name }) => name === 'process_resident_memory_bytes'));
    assert.ok(types.some(({ name }) => name === 'nodejs_eventloop_lag_seconds'));
    for (const { name, type } of types) {
      assert.match(name, /^(?:assay|process|nodejs)_/);
      if (name.startsWith('assay_')) assert.equal(name.endsWith('_total'), type === 'counter');
    }
  });

  it('are served beside the probes, counted at the moment of the scrape', async () => {
    const world = emptyWorld();
    world.nodes.set('node-1', {
      enrolled: enrolled('node-1'),
      status: statusOf('node-1', verdictOf(), { expiresAt: now - 1 }),
    });
    const { scraped: metrics } = madeTelemetry();
    await using listening = await listenPlainly(
      createProbes({ ...portsOf(world), metrics, scrapeKeptFor: 0 }),
      { host: '127.0.0.1', port: 0 },
      quietAdmission(),
    );
    const text = await get(listening.port, '/metrics');
    assert.match(text.body, /^assay_nodes\{state="unknown"\} 1$/m);
    assert.match(text.body, /^assay_node_trusted\{node="node-1"\} 0$/m);
    assert.equal((await get(listening.port, '/livez')).status, 200);
    world.ready = { ok: false, reason: 'no store' };
    assert.equal((await get(listening.port, '/readyz')).status, 503);
    assert.match((await get(listening.port, '/metrics')).body, /^assay_ready 0$/m);
    assert.equal((await get(listening.port, '/v1/nodes')).status, 404);
  });
});

function get(port: number, path: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
      );
    });
    asked.on('error', reject);
    asked.end();
  });
}
