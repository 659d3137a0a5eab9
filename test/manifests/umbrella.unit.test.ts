import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import type { JsonObject } from '../../swtpm-fixtures/api-server/json.ts';
import { chartFolder, helm, needsTools, refusalOf, renderChart } from './kubernetes-tools.ts';
import { titleOf } from './upgrade.ts';

/** A chart of somebody else, of which Assay is a part that may be switched off. */
const umbrella = {
  apiVersion: 'v2',
  name: 'platform',
  version: '1.0.0',
  icon: 'https://example.org/icon.svg',
  dependencies: [{ name: 'assay', version: '>=0.3.0-0', condition: 'assay.enabled' }],
};
const theirs = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'theirs' } };

describe('a chart that has this one as a part', function () {
  this.timeout(60_000);
  let chart: string;
  before(async () => {
    chart = await mkdtemp(join(tmpdir(), 'assay-umbrella-'));
    await mkdir(join(chart, 'templates'));
    // JSON is YAML.
    await writeFile(join(chart, 'Chart.yaml'), JSON.stringify(umbrella));
    await writeFile(join(chart, 'templates/theirs.yaml'), JSON.stringify(theirs));
    await cp(chartFolder, join(chart, 'charts/assay'), { recursive: true });
  });
  after(() => rm(chart, { recursive: true }));

  const titles = async (assay: JsonObject) =>
    (await renderChart({ chart, values: { assay, global: { imageRegistry: 'example.org' } } })).map(titleOf);

  it('is linted without a remark, switched on and off', async function () {
    needsTools(this);
    const values = join(chart, 'values.yaml');
    for (const enabled of [true, false]) {
      await writeFile(values, JSON.stringify({ assay: { enabled } }));
      await helm('lint', '--strict', '--quiet', chart, '--with-subcharts');
      await helm('lint', '--strict', '--quiet', chart, '--set', `assay.enabled=${!enabled}`);
    }
    await rm(values);
  });

  it('has all of it where it is switched on, object for object', async function () {
    needsTools(this);
    const server = { networkPolicy: { metrics: [{ podSelector: {} }] } };
    const own = await renderChart({ values: { server } });
    const part = await renderChart({ chart, values: { assay: { enabled: true, server } } });
    assert.deepEqual(
      part.filter((one) => titleOf(one) !== titleOf(theirs)),
      own,
    );
    // The release says it of all of its charts.
    assert.deepEqual(await titles({ enabled: true }), await titles({}));
  });

  it('has none of it where it is switched off', async function () {
    needsTools(this);
    assert.deepEqual(await titles({ enabled: false }), [titleOf(theirs)]);
  });

  it('is told what is wrong with its values, as anybody is', async function () {
    needsTools(this);
    const wrong = { assay: { enabled: true, server: { extraEnv: [{ name: 'ASSAY_POLICY', value: 'x' }] } } };
    assert.match(await refusalOf({ chart, values: wrong }), /server\.extraEnv: ASSAY_POLICY /);
    assert.match(
      await refusalOf({ chart, values: { assay: { enabled: 'yes' } } }),
      /at '\/enabled': got string, want boolean/,
    );
    assert.match(
      await refusalOf({ chart, values: { assay: { enable: true } } }),
      /additional properties 'enable'/,
    );
  });
});
