import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { isObject, type JsonObject } from '../../swtpm-fixtures/api-server/json.ts';
import { jsonText } from '../generated/json-text.ts';
import type { GeneratedFiles } from '../generated/list.ts';
import { defaultTemplates, withDefaults } from './chart-defaults.ts';
import { valuesTable, withParts } from './values-schema.ts';

const root = join(import.meta.dirname, '..', '..');

/** What the chart takes in: the grammar of policies and settings, defaults, the table of its values, rules and dashboard. */
export async function chartFiles(): Promise<GeneratedFiles> {
  const [file, page] = ['manifests/chart/values.schema.json', 'manifests/chart/README.md'];
  const policy = objectIn(JSON.parse(read('attest-server/policy/file/policy.schema.json')));
  const settings = objectIn(JSON.parse(read('attest-server/config.schema.json')));
  const agent = objectIn(JSON.parse(read('agent/config.schema.json')));
  const schema = withParts(objectIn(JSON.parse(read(file))), { policy, settings, agent });
  const values = withDefaults(read('manifests/chart/values.yaml'));
  const table = valuesTable(schema, objectIn(parse(values)));
  // Helm reads nothing outside of the chart.
  const copies = ['assay.rules.yaml', 'dashboard.json'].map(
    (name) => [`manifests/chart/files/${name}`, read(`manifests/prometheus/${name}`)] as const,
  );
  return new Map([
    [file, await jsonText(file, schema)],
    ['manifests/chart/values.yaml', values],
    ['manifests/chart/templates/_defaults.tpl', defaultTemplates()],
    [page, withTable(read(page), table)],
    ...copies,
  ]);
}

function withTable(page: string, table: string): string {
  const begin = /\n\| key \| default \| meaning \|\n(?:\|.*\n)+/;
  if (!begin.test(page)) throw new Error('README.md of the chart has no table of values');
  return page.replace(begin, () => `\n${table}\n`);
}

function read(file: string): string {
  return readFileSync(join(root, file), 'utf8');
}

function objectIn(value: unknown): JsonObject {
  if (!isObject(value)) throw new Error('no object');
  return value;
}
