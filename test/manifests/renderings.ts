import { globSync, readFileSync } from 'node:fs';
import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { Context } from 'mocha';
import { isObject, type JsonObject } from '../../swtpm-fixtures/api-server/json.ts';
import { madeOnce } from '../../swtpm-fixtures/made-once.ts';
import { needsTools, renderChart } from './kubernetes-tools.ts';
import { parseObjects } from './parse-objects.ts';

export const baseFolder = join(import.meta.dirname, '../../manifests/base');
const valuesFolder = join(import.meta.dirname, 'values');

/** One way in which the manifests may be in a cluster. */
export interface Manifests {
  readonly name: string;
  /** Skips the test that asks, where it takes Helm and there is none. */
  readonly objects: (test: Context) => Promise<readonly JsonObject[]>;
}

/** The base; the chart as it is; the chart with each file of values. */
export const allManifests: readonly Manifests[] = [
  { name: 'the base', objects: async () => baseObjects() },
  ofChart('the chart', []),
  ...globSync('*.yaml', { cwd: valuesFolder })
    .sort()
    .map((file) => ofChart(`the chart, ${basename(file, '.yaml')}`, [join(valuesFolder, file)])),
];

/** Workloads that rest on Assay, to be taken over. */
export function exampleObjects(): readonly JsonObject[] {
  return objectsBelow(join(baseFolder, '../examples'));
}

/** One of them by its name. */
export function manifestsCalled(name: string): Manifests {
  const found = allManifests.find((one) => one.name === name);
  if (found === undefined) throw new Error(`there are no manifests called ${name}`);
  return found;
}

/** What `kubectl apply -k manifests/base` makes, and the job that unmarks. */
export function baseObjects(): readonly JsonObject[] {
  base ??= objectsBelow(baseFolder);
  return base;
}
let base: readonly JsonObject[] | undefined;

function objectsBelow(folder: string): readonly JsonObject[] {
  return globSync('**/*.yaml', { cwd: folder, exclude: ['**/kustomization.yaml'] })
    .sort()
    .flatMap((file) => parseObjects(readFileSync(join(folder, file), 'utf8')));
}

function ofChart(name: string, files: readonly string[]): Manifests {
  let rendered: Promise<readonly JsonObject[]> | undefined;
  return {
    name,
    async objects(test) {
      needsTools(test);
      rendered ??= renderedOnce(name, files);
      return rendered;
    },
  };
}

/** Helm and the reader of YAML take a second for all; the first process of a run that asks makes it. */
async function renderedOnce(name: string, files: readonly string[]): Promise<readonly JsonObject[]> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'assay-rendered-'));
  const file = join(folder.path, 'objects.json');
  await madeOnce(`rendered ${name}`, [basename(file)], folder.path, async () =>
    writeFile(file, JSON.stringify(await renderChart({ files }))),
  );
  const objects: unknown = JSON.parse(await readFile(file, 'utf8'));
  if (!Array.isArray(objects) || !objects.every(isObject)) throw new Error(`${name}: no objects`);
  return objects;
}
