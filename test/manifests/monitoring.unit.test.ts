import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { parse } from 'yaml';
import { isObject, type JsonObject, listAt, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { memberOf, needsTools, refusalOf, renderChart } from './kubernetes-tools.ts';
import { manifestsCalled } from './renderings.ts';

const manifests = join(import.meta.dirname, '..', '..', 'manifests');
const read = (file: string) => readFileSync(join(manifests, file), 'utf8');
const values = join(import.meta.dirname, 'values', 'monitoring.yaml');

const ofKind = (objects: readonly JsonObject[], kind: string) =>
  objects.filter((object) => object.kind === kind);
const only = (objects: readonly JsonObject[], kind: string): JsonObject => {
  const [first, ...others] = ofKind(objects, kind);
  assert.deepEqual(others, []);
  return first ?? assert.fail(`no ${kind}`);
};

/** Whether an object has all of these labels. */
function isSelected(labels: unknown, by: unknown): boolean {
  if (!isObject(labels) || !isObject(by) || Object.keys(by).length === 0) return false;
  return Object.entries(by).every(([label, word]) => labels[label] === word);
}

describe('what the chart gives Prometheus and Grafana', () => {
  it('is nothing until it is asked for', async function () {
    const all = await manifestsCalled('the chart').objects(this);
    assert.deepEqual(
      all.filter(({ apiVersion }) => String(apiVersion).startsWith('monitoring.')),
      [],
    );
    assert.deepEqual(
      ofKind(all, 'ConfigMap').filter((one) => textAt(one, 'metadata', 'name') === 'assay-dashboard'),
      [],
    );
  });

  it('finds the one Service of the server that has the port, and names the server by its pod', async function () {
    const all = await manifestsCalled('the chart, monitoring').objects(this);
    const monitor = only(all, 'ServiceMonitor');
    assert.equal(memberOf(memberOf(monitor.metadata, 'labels'), 'release'), 'kube-prometheus-stack');
    const by = memberOf(memberOf(monitor.spec, 'selector'), 'matchLabels');
    const [endpoint = {}] = listAt(monitor, 'spec', 'endpoints');
    const found = ofKind(all, 'Service').filter(
      (service) =>
        isSelected(memberOf(service.metadata, 'labels'), by) &&
        listAt(service, 'spec', 'ports').some(
          (port) => memberOf(port, 'name') === memberOf(endpoint, 'port'),
        ),
    );
    assert.deepEqual(
      found.map((service) => textAt(service, 'metadata', 'name')),
      ['assay-server-metrics'],
    );
    assert.deepEqual(memberOf(memberOf(monitor.spec, 'namespaceSelector'), 'matchNames'), ['assay']);
    assert.equal(memberOf(endpoint, 'interval'), '15s');
    assert.deepEqual(memberOf(endpoint, 'relabelings'), [
      { sourceLabels: ['__meta_kubernetes_pod_name'], targetLabel: 'instance', action: 'replace' },
    ]);
    assert.deepEqual(ofKind(all, 'PodMonitor'), []);
    // Some give each target the node of its pod as `node`: then each alert would name that one, and not the node that is meant.
    assert.equal(memberOf(endpoint, 'honorLabels'), true);
  });

  it('finds the pod of the server and no other in its place', async function () {
    needsTools(this);
    const monitoring = { serviceMonitor: { enabled: false }, podMonitor: { enabled: true } };
    const all = await renderChart({ files: [values], values: { monitoring } });
    const monitor = only(all, 'PodMonitor');
    assert.deepEqual(ofKind(all, 'ServiceMonitor'), []);
    const by = memberOf(memberOf(monitor.spec, 'selector'), 'matchLabels');
    const [endpoint = {}] = listAt(monitor, 'spec', 'podMetricsEndpoints');
    const found = all.filter((object) => {
      const template = memberOf(object.spec, 'template');
      return isSelected(memberOf(memberOf(template, 'metadata'), 'labels'), by);
    });
    assert.deepEqual(
      found.map(({ kind }) => kind),
      ['StatefulSet'],
    );
    const [container = {}] = listAt(found[0] ?? {}, 'spec', 'template', 'spec', 'containers');
    const ports = memberOf(container, 'ports');
    assert.ok(
      Array.isArray(ports) && ports.some((port) => memberOf(port, 'name') === memberOf(endpoint, 'port')),
    );
  });

  it('has each rule as it is, with the page where runbookBase says', async function () {
    const all = await manifestsCalled('the chart, monitoring').objects(this);
    const { spec } = only(all, 'PrometheusRule');
    const text = read('prometheus/assay.rules.yaml');
    const kept = (base: string) =>
      parse(
        text
          .replaceAll('runbook_url: docs/runbooks/', `runbook_url: ${base}/`)
          .replaceAll('code_url: docs/', `code_url: ${base}/../`),
      );
    assert.deepEqual(spec, kept('https://wiki.example.org/assay'));
    const plain = await renderChart({ values: { monitoring: { rules: { enabled: true } } } });
    assert.deepEqual(only(plain, 'PrometheusRule').spec, kept('docs/runbooks'));
  });

  it('has the dashboard where a sidecar of Grafana looks', async function () {
    const all = await manifestsCalled('the chart, monitoring').objects(this);
    const map = ofKind(all, 'ConfigMap').find((one) => textAt(one, 'metadata', 'name') === 'assay-dashboard');
    assert.ok(map !== undefined);
    assert.deepEqual(
      JSON.parse(textAt(map, 'data', 'assay.json') ?? ''),
      JSON.parse(read('prometheus/dashboard.json')),
    );
    assert.equal(memberOf(memberOf(map.metadata, 'labels'), 'grafana_dashboard'), 'yes');
    assert.equal(memberOf(memberOf(map.metadata, 'annotations'), 'grafana_folder'), 'Security');
  });

  it('is refused where Prometheus would count twice, or would not reach the server', async function () {
    needsTools(this);
    for (const [monitoring, named] of [
      [{ podMonitor: { enabled: true } }, 'monitoring.serviceMonitor, monitoring.podMonitor'],
      [{ runbookBase: 'a page' }, 'runbookBase'],
      [{ interval: 'often' }, 'interval'],
      [{ rule: { enabled: true } }, 'rule'],
    ] as const)
      assert.ok((await refusalOf({ files: [values], values: { monitoring } })).includes(named), named);
    const unreached = { monitoring: { serviceMonitor: { enabled: true } } };
    assert.ok((await refusalOf({ values: unreached })).includes('server.networkPolicy.metrics'));
  });
});
