import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it } from 'mocha';
import { type Dashboard, queriesOf, readDashboard } from './dashboard.ts';
import { promtool } from './promtool.ts';

describe('the dashboard for Grafana', () => {
  let dashboard: Dashboard;
  before(async () => {
    dashboard = await readDashboard();
  });

  it('has the uid by which links find it, and each panel once, on 24 columns, none over another', () => {
    assert.equal(dashboard.uid, 'assay');
    const ids = dashboard.panels.map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length);
    const titles = dashboard.panels.map(({ title }) => title);
    assert.equal(new Set(titles).size, titles.length);
    const taken = new Map<string, string>();
    for (const { title, gridPos } of dashboard.panels) {
      const { x, y, w, h } = gridPos;
      assert.ok(x + w <= 24, title);
      for (let column = x; column < x + w; column++)
        for (let line = y; line < y + h; line++) {
          const other = taken.get(`${column} ${line}`);
          assert.equal(other, undefined, `${title} over ${other}`);
          taken.set(`${column} ${line}`, title);
        }
    }
  });

  it('asks the data source that a person chooses, for the servers that he chooses, and uses no other variable', () => {
    const names = dashboard.templating.list.map(({ name }) => name);
    assert.deepEqual(names, ['datasource', 'job', 'instance']);
    for (const { panel, expr } of queriesOf(dashboard)) {
      const used = [...expr.matchAll(/\$\{?(\w+)/g)].map(([, name = '']) => name);
      assert.deepEqual(
        used.filter((name) => ![...names, '__rate_interval'].includes(name)),
        [],
        panel,
      );
      const series = [...expr.matchAll(/\b(?:assay|process|nodejs)_\w+/g)].length;
      const chosen = expr.split('{job=~"$job",instance=~"$instance"').length - 1;
      assert.equal(chosen, series, `${panel}: ${expr}`);
    }
  });

  it('has queries that Prometheus reads', async () => {
    const rules = queriesOf(dashboard).map(({ expr }, index) => ({
      record: `query:${index}`,
      expr: expr.replaceAll('$__rate_interval', '5m').replaceAll(/\$(job|instance)/g, '.*'),
    }));
    const dir = await mkdtemp(join(tmpdir(), 'assay-dashboard-'));
    try {
      const file = join(dir, 'queries.yaml');
      await writeFile(file, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }));
      assert.match(
        await promtool('check', 'rules', file),
        new RegExp(`SUCCESS: ${rules.length} rules found`),
      );
    } finally {
      await rm(dir, { recursive: true });
    }
  });
});
