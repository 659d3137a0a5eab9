import assert from 'node:assert/strict';
import { cp, mkdir, mkdtempDisposable, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { parse } from 'yaml';
import { isObject, type Json, type JsonObject } from '../../swtpm-fixtures/api-server/json.ts';
import { chartFolder, helm, memberOf } from './kubernetes-tools.ts';
import { parseObjects } from './parse-objects.ts';

/**
 * What Helm makes of the chart with each of these values, in one run.
 * @param below folder of templates, whose objects alone are wanted
 * @throws Refused where one of the values is refused
 */
export async function renderEach(
  all: readonly JsonObject[],
  below = '',
): Promise<readonly (readonly JsonObject[])[]> {
  const text = await renderAbove(all, (file) => file !== 'templates/NOTES.txt');
  const form = new RegExp(`^# Source: above/charts/part(\\d+)/templates/${below}`);
  const rendered = Map.groupBy(text.split(/^---\n(?=# Source: )/m), (document) => form.exec(document)?.[1]);
  return all.map((_, index) => (rendered.get(`${index}`) ?? []).flatMap(parseObjects));
}

/** What the chart says of each of these values, which its schema takes. @throws Refused where the schema refuses one */
export async function contradictionsOf(all: readonly JsonObject[]): Promise<readonly string[]> {
  // What would end the run at the first of them is told in its place.
  const tell = async (chart: string) => {
    const file = join(chart, 'charts/assay/templates/_contradictions.tpl');
    const [before = '', after = '', ...more] = (await readFile(file, 'utf8')).split('{{- fail (');
    assert.ok(after !== '' && more.length === 0);
    await writeFile(file, `${before}{{- print (${after}`);
    await mkdir(join(chart, 'templates'));
    await writeFile(
      join(chart, 'templates/all.yaml'),
      `{{- $all := dict -}}
       {{- range $name, $part := .Subcharts }}{{ $_ := set $all $name (include "assay.contradictions" $part) }}{{ end -}}
       {{ $all | toJson }}`,
    );
  };
  const text = await renderAbove(all, (file) => !/^templates\/[^_]/.test(file), tell);
  const told: unknown = parse(text);
  return all.map((_, index) => String(memberOf(told, `part${index}`) ?? assert.fail(text)));
}

/** Of a chart above with as many parts as there are values. One schema is for all of them: Helm would read one for each. */
async function renderAbove(
  all: readonly JsonObject[],
  isTaken: (file: string) => boolean,
  change: (chart: string) => Promise<void> = async () => {},
): Promise<string> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'assay-above-'));
  const chart = folder.path;
  const part = join(chart, 'charts/assay');
  await cp(chartFolder, part, { recursive: true, filter: (file) => isTaken(relative(chartFolder, file)) });
  const schema: unknown = JSON.parse(await readFile(join(part, 'values.schema.json'), 'utf8'));
  assert.ok(isObject(schema));
  const { $schema = null, ...assay } = schema;
  await rm(join(part, 'values.schema.json'));
  const entries = all.map((values, index) => [`part${index}`, values] as const);
  const parts = entries.map(([name]) => name);
  const files = {
    'Chart.yaml': {
      ...{ apiVersion: 'v2', name: 'above', version: '1.0.0' },
      dependencies: parts.map((alias) => ({ name: 'assay', version: '>=0-0', alias })),
    },
    'values.yaml': Object.fromEntries(entries),
    'values.schema.json': {
      $schema,
      definitions: { assay },
      properties: Object.fromEntries(parts.map((name) => [name, { $ref: '#/definitions/assay' }])),
      required: parts,
    },
  };
  // JSON is YAML.
  for (const [file, object] of Object.entries(files))
    await writeFile(join(chart, file), JSON.stringify(object));
  await change(chart);
  return await helm('template', 'assay', chart, '--namespace', 'assay');
}

/** These values over others, as Helm takes files. */
export function mergedValues(one: Json | undefined, other: Json): Json {
  if (!isObject(one) || !isObject(other)) return other;
  const merged = Object.entries(other).map(([key, value]) => [key, mergedValues(one[key], value)] as const);
  return { ...one, ...Object.fromEntries(merged) };
}
