import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { parse } from 'yaml';
import { isObject, type JsonObject } from '../../swtpm-fixtures/api-server/json.ts';
import { valuesTable, withParts } from './values-schema.ts';

const root = join(import.meta.dirname, '..', '..');
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const objectIn = (value: unknown): JsonObject => {
  assert.ok(isObject(value));
  return value;
};
const schema = objectIn(JSON.parse(read('manifests/chart/values.schema.json')));
const values = objectIn(parse(read('manifests/chart/values.yaml')));

describe('the schema of the values', () => {
  it('has the grammar of policies and settings of today', () => {
    const policy = objectIn(JSON.parse(read('attest-server/policy/file/policy.schema.json')));
    const settings = objectIn(JSON.parse(read('attest-server/config.schema.json')));
    const agent = objectIn(JSON.parse(read('agent/config.schema.json')));
    assert.deepEqual(
      schema,
      withParts(schema, { policy, settings, agent }),
      '`npm run manifests` writes it anew',
    );
  });

  it('has a table in README.md of the chart, with each key, its default and its meaning', () => {
    const table = valuesTable(schema, values);
    assert.ok(
      read('manifests/chart/README.md').includes(`\n${table}\n`),
      '`npm run manifests` writes it anew',
    );
  });
});
