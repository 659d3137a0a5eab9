import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { z } from 'zod';
import { tamper } from '../../swtpm-fixtures/tamper.ts';
import { type ForgedSite, openForgedSite } from '../attest-server/marking/forged-site.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { exampleFor, hurried } from './alertmanager-example.ts';
import { queriesOf, readDashboard } from './dashboard.ts';
import {
  type Notified,
  type Receiver,
  startAlertmanager,
  startPrometheus,
  startReceiver,
} from './prometheus-programs.ts';
import { readRules, rulesFile } from './promtool.ts';

const good = recordedLog('debian13-sdboot-uki');
const changed = tamper(good, 'kernel');
const nodes = ['node-1', 'node-2', 'node-3', 'node-4', 'node-5', 'node-6'];
const inSeconds = 30_000;

/**
 * The rules and the example as they are, but that a minute of waiting lasts a second (`hurried`): a server in a cluster is
 * scraped by a real Prometheus, whose alerts a real Alertmanager brings to a receiver.
 */
describe('an alert on its way to a person', () => {
  const opened = new AsyncDisposableStack();
  let site: ForgedSite;
  let receiver: Receiver;
  let alertmanager: string;
  let prometheus: string;

  before(async () => {
    site = opened.use(await openForgedSite());
    for (const node of nodes) await site.add(node);
    receiver = opened.use(await startReceiver());
    const told = opened.use(await startAlertmanager(await exampleFor(receiver.url)));
    alertmanager = told.url;
    const dir = await mkdtemp(join(tmpdir(), 'assay-rules-'));
    opened.defer(() => rm(dir, { recursive: true }));
    await writeFile(join(dir, 'rules.yaml'), hurried(await readFile(rulesFile, 'utf8')));
    const config = {
      global: { scrape_interval: '1s', evaluation_interval: '1s', external_labels: { cluster: 'one' } },
      rule_files: [join(dir, 'rules.yaml')],
      scrape_configs: [
        {
          job_name: 'assay',
          static_configs: [{ targets: [`127.0.0.1:${site.world.server.metricsPort}`] }],
        },
      ],
      alerting: { alertmanagers: [{ static_configs: [{ targets: [told.url.replace('http://', '')] }] }] },
    };
    prometheus = opened.use(await startPrometheus(JSON.stringify(config))).url;

    await site.answer('node-1', good, 7);
    await site.world.call('POST', '/v1/references', { node: 'node-1', name: 'good' });
    for (const node of nodes) assert.equal(await site.answer(node, good, 8), 'trusted', node);
    // Each series is there before it changes.
    await site.world.until(
      async () => (await valueAt('assay_nodes{state="trusted"}')) === nodes.length,
      inSeconds,
    );
  });
  after(() => opened.disposeAsync());

  const answerOf = z.object({
    data: z.object({ result: z.array(z.object({ value: z.tuple([z.number(), z.string()]) })) }),
  });
  async function valueAt(query: string): Promise<number | null> {
    const answer = await fetch(`${prometheus}/api/v1/query?query=${encodeURIComponent(query)}`);
    const [first] = answerOf.parse(await answer.json()).data.result;
    return first === undefined ? null : Number(first.value[1]);
  }

  const alertsView = z.array(
    z.object({
      labels: z.record(z.string(), z.string()),
      status: z.object({ state: z.string(), inhibitedBy: z.array(z.string()) }),
    }),
  );
  async function alerts(alertname: string): Promise<z.infer<typeof alertsView>> {
    const answer = await fetch(`${alertmanager}/api/v2/alerts`);
    return alertsView.parse(await answer.json()).filter(({ labels }) => labels.alertname === alertname);
  }

  const told = (status: Notified['status'], alertname: string, node?: string) =>
    receiver.notified.find(
      ({ status: is, labels }) =>
        is === status && labels.alertname === alertname && (node === undefined || labels.node === node),
    );

  it('names the node that booted another kernel, the code, the command and the page; its recovery ends it (row 45)', async () => {
    assert.equal(await site.answer('node-2', changed, 9), 'untrusted');
    const { world } = site;
    const alert = await world.until(() => told('firing', 'AssayNodeChanged', 'node-2'), inSeconds);
    assert.equal(alert.receiver, 'on-call');
    const { severity, code, class: its, signed, cluster } = alert.labels;
    assert.deepEqual(
      { severity, code, its, signed, cluster },
      { severity: 'critical', code: 'kernel_unknown', its: 'drift', signed: 'false', cluster: 'one' },
    );
    const { summary = '', command, runbook_url } = alert.annotations;
    assert.match(summary, /node-2.*kernel_unknown/);
    assert.deepEqual(
      { command, runbook_url },
      {
        command: 'assay why node-2',
        runbook_url: 'docs/runbooks/AssayNodeChanged.md',
      },
    );
    assert.equal(told('resolved', 'AssayNodeChanged', 'node-2'), undefined);

    assert.equal(await site.answer('node-2', good, 10), 'trusted');
    await world.until(() => told('resolved', 'AssayNodeChanged', 'node-2'), inSeconds);
    assert.deepEqual(
      receiver.notified.filter(({ labels }) => labels.class !== undefined && labels.node !== 'node-2'),
      [],
    );
  });

  it('is one for many nodes that change alike, and goes on for a failed proof among them', async () => {
    const { world } = site;
    for (const node of ['node-2', 'node-3', 'node-4'])
      assert.equal(await site.answer(node, changed, 11), 'untrusted');
    const mass = await world.until(() => told('firing', 'AssayMassFailure'), inSeconds);
    assert.equal(mass.labels.code, 'kernel_unknown');
    assert.match(mass.annotations.summary ?? '', /^3 nodes .*kernel_unknown$/);
    // A clock that runs backwards, with the same change beside it.
    assert.equal(await site.answer('node-5', changed, 3), 'untrusted');
    const failed = await world.until(() => told('firing', 'AssayNodeFailed', 'node-5'), inSeconds);
    assert.equal(failed.labels.code, 'counter_rollback');
    const drift = await world.until(async () => {
      const found = await alerts('AssayNodeChanged');
      return found.length >= 3 && found.every(({ status }) => status.inhibitedBy.length > 0) ? found : null;
    }, inSeconds);
    assert.deepEqual(drift.map(({ labels }) => labels.node).sort(), ['node-2', 'node-3', 'node-4']);
    for (const { labels, status } of await alerts('AssayNodeFailed')) {
      assert.deepEqual([labels.node, status.inhibitedBy], ['node-5', []]);
    }
  });

  it('comes of rules that Prometheus can all evaluate, beside a dashboard whose queries it can all answer', async () => {
    const rules = z
      .object({
        data: z.object({
          groups: z.array(
            z.object({
              rules: z.array(
                z.object({ name: z.string(), health: z.string(), lastError: z.string().optional() }),
              ),
            }),
          ),
        }),
      })
      .parse(await (await fetch(`${prometheus}/api/v1/rules`)).json())
      .data.groups.flatMap((group) => group.rules);
    assert.equal(rules.length, (await readRules()).length);
    assert.deepEqual(
      rules.filter(({ health }) => health !== 'ok'),
      [],
    );
    const unanswered: string[] = [];
    const dashboard = await readDashboard();
    const stats = dashboard.panels.filter(({ type }) => type === 'stat').map(({ title }) => title);
    for (const { panel, expr } of queriesOf(dashboard)) {
      const query = expr.replaceAll('$__rate_interval', '5m').replaceAll(/\$(job|instance)/g, '.*');
      const answer = await fetch(`${prometheus}/api/v1/query?query=${encodeURIComponent(query)}`);
      if (answer.status !== 200) unanswered.push(`${panel}: ${await answer.text()}`);
      // Without a value where all is well, it would look the same where no server is scraped.
      else if (stats.includes(panel) && answerOf.parse(await answer.json()).data.result.length === 0)
        unanswered.push(`${panel}: no data`);
    }
    assert.deepEqual(unanswered, []);
  });
});
