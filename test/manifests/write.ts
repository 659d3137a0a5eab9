import { globSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { renderBase } from './rendered-base.ts';
import { baseFolder } from './renderings.ts';

// `npm run manifests`: writes anew what follows from the chart.
const rendered = await renderBase();
for (const file of globSync('**/*.yaml', { cwd: baseFolder, exclude: ['**/kustomization.yaml'] }))
  if (!rendered.has(file)) await rm(join(baseFolder, file));
for (const [file, text] of rendered) {
  await mkdir(dirname(join(baseFolder, file)), { recursive: true });
  await writeFile(join(baseFolder, file), text);
}
