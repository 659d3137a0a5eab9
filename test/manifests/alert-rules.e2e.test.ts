import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { tamper } from '../../swtpm-fixtures/tamper.ts';
import { type ForgedSite, openForgedSite } from '../attest-server/marking/forged-site.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { queriesOf, readDashboard } from './dashboard.ts';
import { assertFires, promtoolOn, readRules, type Scraped } from './promtool.ts';
import { faultsOf, labelsOf, parseScrape, type Scrape } from './scrape.ts';

const log = recordedLog('debian13-sdboot-uki');
const instance = 'assay:9464';

/** A server in a cluster of three Nodes: one is good, one booted another kernel, and one has no agent. */
describe('the alert rules on what a real server tells', () => {
  let site: ForgedSite;
  let text = '';
  let scrape: Scrape = { samples: [], types: new Map() };
  before(async () => {
    site = await openForgedSite();
    const { world } = site;
    for (const node of ['node-1', 'node-2']) await site.add(node);
    await site.api.createNode('node-9');
    await site.answer('node-1', log, 7);
    await world.call('POST', '/v1/references', { node: 'node-1', name: 'good' });
    await site.stay('node-1', log, 8);
    await site.stay('node-2', tamper(log, 'kernel'), 8);
    await site.reaches('node-1', 'label True');
    await site.reaches('node-2', 'untrusted=kernel_unknown False');
    await world.until(async () => {
      text = await world.metrics();
      scrape = parseScrape(text);
      const wrong = scrape.samples.filter(({ name }) => name.startsWith('assay_enforcement_wrong_'));
      return (
        wrong.every(({ value }) => value === '0') &&
        scrape.samples.some(({ name }) => name === 'assay_node_without_agent')
      );
    });
  });
  after(() => site?.[Symbol.asyncDispose]());

  it('name the changed node and its code, and no other node but the one without an agent (row 45)', async () => {
    const scraped = scrape.samples
      .filter(({ name }) => name.startsWith('assay_'))
      .map(({ name, labels, value }): Scraped[number] => {
        const pairs = Object.entries({ instance, ...labels }).map(([label, word]) => `${label}="${word}"`);
        // Nodes go on to answer.
        const isAnswered = name === 'assay_attestations_total' && labels.result === 'accepted';
        return [`${name}{${pairs.join(',')}}`, `${value}${isAnswered ? '+1' : ''}x60`];
      });
    const its = { code: 'kernel_unknown', class: 'drift', signed: 'false', ours: 'false' };
    const labels = { instance, node: 'node-2', ...its };
    await assertFires(scraped, '1h', [
      { alert: 'AssayNodeChanged', labels },
      { alert: 'AssayAgentMissing', labels: { instance, node: 'node-9' } },
    ]);
  });

  it('are asked of a text that Prometheus reads without a remark', async () => {
    // Those of the runtime are named by prom-client.
    const lines = text.split('\n').filter((line) => !/^(?:# \w+ )?nodejs_/.test(line));
    assert.equal(await promtoolOn(`${lines.join('\n')}\n`, 'check', 'metrics'), '');
  });

  it('ask for nothing that no server tells, and name no label that an alert lacks', async () => {
    const faults = (await readRules()).flatMap(({ alert, expr, annotations }) =>
      faultsOf(expr, Object.values(annotations).join(' '), scrape).map((fault) => `${alert}: ${fault}`),
    );
    assert.deepEqual(faults, []);
  });

  it('would be found to ask for a metric, a label or a word that is none', () => {
    for (const [query, words] of [
      ['assay_nothing > 0', ''],
      ['assay_nodes{state="brilliant"}', ''],
      ['assay_nodes{state=~"trusted|brilliant"}', ''],
      ['assay_nodes{colour="red"}', ''],
      ['sum by (colour) (assay_nodes)', ''],
      ['assay_nodes', '{{ $labels.node }}'],
      ['up', ''],
    ] as const)
      assert.equal(faultsOf(query, words, scrape).length, 1, query);
    assert.deepEqual(faultsOf('sum by (state) (assay_nodes{state!="unknown"})', '{{state}}', scrape), []);
  });

  it('have beside them a dashboard that asks for nothing that no server tells', async () => {
    const dashboard = await readDashboard();
    const faults = queriesOf(dashboard).flatMap(({ panel, expr, legend }) =>
      faultsOf(expr, legend, scrape).map((fault) => `${panel}: ${fault}`),
    );
    assert.deepEqual(faults, []);
    const asked = new Set(
      queriesOf(dashboard).flatMap(({ expr }) =>
        [...expr.matchAll(/\bassay_\w+/g)].map(([name]) => name.replace(/_bucket$/, '')),
      ),
    );
    const shown = [...scrape.types.keys()].filter((name) => name.startsWith('assay_') && !asked.has(name));
    // The state of each node is in the table of those that are not trusted; a startup taint that came back heals by itself; how often
    // nodes are asked is for rules, and so is what they would boot next; nodes that wait for an initrd are in that table, with their place; `assay status` has the serial,
    // and what became of a policy; keys of disks are in `assay disk list` and the audit log; a trial has an alert of its own, as have nodes that flap; how a node came to be silent is in the alert;
    // streams of events are bounded, and a program that loses its own connects again.
    assert.deepEqual(shown.sort(), [
      'assay_challenge_interval_seconds',
      'assay_declared_serial',
      'assay_event_streams',
      'assay_event_streams_ended_total',
      'assay_heavy_answers_waiting',
      'assay_initrd_manifest_bytes',
      'assay_initrd_received_bytes_total',
      'assay_initrds_waiting',
      'assay_key_refusals_total',
      'assay_key_releases_new_address_total',
      'assay_key_releases_total',
      'assay_node_silence_info',
      'assay_node_state',
      'assay_node_without_agent',
      'assay_nodes_claimed_without_tpm',
      'assay_nodes_flapping',
      'assay_nodes_next_boot',
      'assay_nodes_over_judging_share',
      'assay_nodes_silent_claimed',
      'assay_policy_comparing',
      'assay_policy_rollback_timestamp_seconds',
      'assay_presence_doubt',
      'assay_reload_faulty',
      'assay_startup_taints_restored_total',
      'assay_trial',
      'assay_unproven_bytes',
    ]);
  });

  it('are of metrics that docs/watching.md has in its table, a row each, with the type and the labels that it has', async () => {
    const page = await readFile(join(import.meta.dirname, '..', '..', 'docs', 'watching.md'), 'utf8');
    const rows = [
      ...page.matchAll(
        /^\| `((?:assay|process|nodejs)_\w*)(\*?)(?:\{([\w,]+)\})?` \| ([^|]*) \| ([^|]+) \|$/gm,
      ),
    ];
    for (const [, name = '', , , , says = ''] of rows) assert.ok(says.length > 20, name);
    const documented = rows.map(
      ([, name, rest, labels = '', type]) => `${name}${rest} ${type} ${labels.split(',').sort().join()}`,
    );
    const told = [...scrape.types]
      .filter(([name]) => name.startsWith('assay_'))
      .map(([name, type]) => {
        const labels = labelsOf(scrape, type === 'histogram' ? `${name}_bucket` : name);
        const own = [...labels].filter((label) => label !== 'le');
        return `${name} ${type} ${own.sort().join()}`;
      });
    // Those that the runtime has depend on the machine: a row for all of them.
    const ofProcess = ['process', 'nodejs'].filter((prefix) =>
      [...scrape.types.keys()].some((name) => name.startsWith(`${prefix}_`)),
    );
    assert.deepEqual(
      documented.sort(),
      [...told, ...ofProcess.map((prefix) => `${prefix}_* various `)].sort(),
    );
  });
});
