import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { keptFolder } from './kept-charts.ts';
import { chartFolder, memberOf, renderText } from './kubernetes-tools.ts';

// Keeps the chart of a release, rendered, for the tests of later ones (swtpm-fixtures/charts/README.md).
const chart: unknown = parse(await readFile(join(chartFolder, 'Chart.yaml'), 'utf8'));
const folder = join(keptFolder, String(memberOf(chart, 'version')));
if (existsSync(folder)) throw new Error(`${folder} is there: a chart that was released never changes`);
await mkdir(folder, { recursive: true });
for (const name of ['default', 'everything']) {
  const values =
    name === 'default' ? '{}\n' : await readFile(join(import.meta.dirname, `values/${name}.yaml`), 'utf8');
  const file = join(folder, `${name}.values.yaml`);
  await writeFile(file, values);
  await writeFile(join(folder, `${name}.yaml`), await renderText({ files: [file] }));
}
