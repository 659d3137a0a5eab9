import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { isObject, type JsonObject } from '../../swtpm-fixtures/api-server/json.ts';
import { valuesTable, withParts } from './values-schema.ts';

// Writes anew what follows from values.yaml and other schemas: node_modules/.bin/node test/manifests/write-values.ts
const root = join(import.meta.dirname, '..', '..');
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const objectIn = (value: unknown): JsonObject => {
  if (!isObject(value)) throw new Error('no object');
  return value;
};
const [file, page] = ['manifests/chart/values.schema.json', 'manifests/chart/README.md'];
const policy = objectIn(JSON.parse(read('attest-server/policy/file/policy.schema.json')));
const settings = objectIn(JSON.parse(read('attest-server/config.schema.json')));
const agent = objectIn(JSON.parse(read('agent/config.schema.json')));
const schema = withParts(objectIn(JSON.parse(read(file))), { policy, settings, agent });
writeFileSync(join(root, file), `${JSON.stringify(schema, null, 2)}\n`);
// Helm reads nothing outside of the chart.
for (const name of ['assay.rules.yaml', 'dashboard.json'])
  writeFileSync(join(root, 'manifests/chart/files', name), read(`manifests/prometheus/${name}`));
const table = valuesTable(schema, objectIn(parse(read('manifests/chart/values.yaml'))));
writeFileSync(
  join(root, page),
  read(page).replace(/\n\| key \| default \| meaning \|\n(?:\|.*\n)+/, () => `\n${table}\n`),
);
