import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { keptCharts } from './kept-charts.ts';
import { needsTools, renderChart } from './kubernetes-tools.ts';
import { obstaclesOf } from './upgrade.ts';

describe('an upgrade to the chart of today', function () {
  this.timeout(60_000);

  it('is tried from each chart that was released', () => {
    assert.deepEqual(keptCharts.map(({ name }) => name).slice(0, 2), ['0.3.0/default', '0.3.0/everything']);
    for (const { name, objects } of keptCharts) assert.ok(objects.length > 20, name);
  });

  for (const { name, values, objects } of keptCharts)
    it(`is taken by a cluster that has ${name}, and loses nothing there`, async function () {
      needsTools(this);
      assert.deepEqual(
        obstaclesOf(objects, await renderChart({ files: [values], args: ['--is-upgrade'] })),
        [],
      );
    });
});
