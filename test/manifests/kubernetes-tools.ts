import { once } from 'node:events';
import { globSync } from 'node:fs';
import { mkdtemp, mkdtempDisposable, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import type { Context } from 'mocha';
import { start } from 'node-tpm2/run';
import { isObject, type JsonObject } from '../../swtpm-fixtures/api-server/json.ts';
import { parseObjects } from './parse-objects.ts';

const root = join(import.meta.dirname, '..', '..');
const folder = join(root, 'node_modules/.cache/kubernetes-tools');
const programs = new Map(
  globSync('*/{helm,kubectl}', { cwd: folder }).map((file) => [file.split('/').at(-1), join(folder, file)]),
);
const withinMs = 60_000;

/** What a program said, whole, that ended with a fault. */
export class Refused extends Error {
  override readonly name = 'Refused';
}

export const chartFolder = join(root, 'manifests', 'chart');

/** Skips what needs Helm and kubectl where the set-up could not bring them, and says so once. */
export function needsTools(test: Context): void {
  if (programs.has('helm')) return;
  if (!isTold)
    console.log(
      '    SKIPPED where Helm is needed: the set-up brings it to Linux on x64 alone; the base is checked all the same',
    );
  isTold = true;
  test.skip();
}
let isTold = false;

/** @throws Refused with what it says */
export function helm(...args: readonly string[]): Promise<string> {
  return runTool('helm', args);
}

/** @throws Refused with what it says */
export function kubectl(...args: readonly string[]): Promise<string> {
  return runTool('kubectl', args);
}

/** How the chart is rendered: values over its own, as in a file, and files of values. */
export interface Rendering {
  readonly values?: JsonObject;
  readonly files?: readonly string[];
  readonly args?: readonly string[];
  readonly chart?: string;
}

/** What Helm makes of the chart, hooks too. @throws Refused with what it says of the values */
export async function renderChart({
  values,
  files = [],
  args = [],
  chart = chartFolder,
}: Rendering): Promise<readonly JsonObject[]> {
  return parseObjects(await renderText({ files, args, chart, ...(values !== undefined && { values }) }));
}

export async function renderText({
  values,
  files = [],
  args = [],
  chart = chartFolder,
}: Rendering): Promise<string> {
  const own = await mkdtemp(join(tmpdir(), 'assay-values-'));
  try {
    const file = join(own, 'values.yaml');
    // JSON is YAML.
    await writeFile(file, JSON.stringify(values ?? {}));
    const named = [...files, file].flatMap((one) => ['--values', one]);
    return await helm('template', 'assay', chart, '--namespace', 'assay', ...named, ...args);
  } finally {
    await rm(own, { recursive: true });
  }
}

/** What Helm says of values that it refuses. */
export async function refusalOf(rendering: Rendering): Promise<string> {
  try {
    await renderText(rendering);
  } catch (error) {
    if (error instanceof Refused) return error.message;
    throw error;
  }
  return '';
}

/** A member of a value of which nothing is known. */
export function memberOf(value: unknown, name: string): unknown {
  return isObject(value) ? value[name] : undefined;
}

async function runTool(name: 'helm' | 'kubectl', args: readonly string[]): Promise<string> {
  const program = programs.get(name);
  if (program === undefined) throw new Error(`there is no ${name} here: needsTools() is to be asked first`);
  // No settings, plugins or clusters of whoever runs the tests; what a cluster told is kept there, too. Releases are kept as an
  // API without Secrets keeps them.
  await using home = await mkdtempDisposable(join(tmpdir(), 'assay-home-'));
  // Each is over before garbage matters.
  const env = { HOME: home.path, HELM_DRIVER: 'configmap', GOGC: 'off' };
  const child = start(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
  const { stdout: out, stderr: said } = child;
  if (out === null || said === null) throw new Error(`${name} has no streams`);
  const [stdout, stderr, [code]] = await Promise.all([
    textOf(out),
    textOf(said),
    once(child, 'close', { signal: AbortSignal.timeout(withinMs) }),
  ]);
  if (code !== 0) throw new Refused(stderr);
  return stdout;
}
