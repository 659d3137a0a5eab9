import { globSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { run } from 'node-tpm2/run';
import { chartFolder } from './kubernetes-tools.ts';
import { withPrivileges } from './privilege-page.ts';
import { renderBase } from './rendered-base.ts';
import { baseFolder } from './renderings.ts';
// First, since the chart is rendered by its schema.
import './write-values.ts';

// `npm run manifests`: writes anew what follows from the chart.
const rendered = await renderBase();
for (const file of globSync('**/*.yaml', { cwd: baseFolder, exclude: ['**/kustomization.yaml'] }))
  if (!rendered.has(file)) await rm(join(baseFolder, file));
for (const [file, text] of rendered) {
  await mkdir(dirname(join(baseFolder, file)), { recursive: true });
  await writeFile(join(baseFolder, file), text);
}
const root = join(import.meta.dirname, '..', '..');
const biome = join(root, 'node_modules/@biomejs/biome/bin/biome');
const schema = join(chartFolder, 'values.schema.json');
await run(process.execPath, [biome, 'format', '--write', schema], {
  timeoutMs: 60_000,
  maxOutputBytes: 1_048_576,
});
const page = join(root, 'docs/privileges.md');
await writeFile(page, await withPrivileges(await readFile(page, 'utf8')));
