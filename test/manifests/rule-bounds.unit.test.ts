import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { at, isObject, type Json, listAt, textAt, without } from '../../swtpm-fixtures/api-server/json.ts';
import { parseObjects } from './parse-objects.ts';

const folder = join(import.meta.dirname, '../../manifests/base/crds');

/** A server estimates what a rule may cost from the sizes that its schema declares, and refuses definitions by that. */
describe('rules in the definitions of the chart', () => {
  const schemas = readdirSync(folder).flatMap((file) =>
    parseObjects(readFileSync(join(folder, file), 'utf8')).flatMap((definition) =>
      listAt(definition, 'spec', 'versions').map((version) => ({
        name: textAt(definition, 'metadata', 'name') ?? '',
        schema: at(version, 'schema', 'openAPIV3Schema'),
      })),
    ),
  );

  for (const { name, schema } of schemas) {
    it(`look only at what has a declared size: ${name}`, () => {
      assert.deepEqual(
        ruled(withoutIdentity(schema), name).flatMap(([its, path]) => unbounded(its, path)),
        [],
      );
    });

    it(`have no loop in a loop: ${name}`, () => {
      const loops = ruled(schema, name).flatMap(([its, path]) =>
        listAt(its, 'x-kubernetes-validations')
          .map((rule) => textAt(rule, 'rule') ?? '')
          .filter((rule) => (rule.match(/\.(all|exists|exists_one|map|filter)\(/g) ?? []).length > 1)
          .map((rule) => `${path}: ${rule}`),
      );
      assert.deepEqual(loops, []);
    });
  }

  it('are told apart from those over what has none', () => {
    const text = { type: 'string' };
    const rule = { 'x-kubernetes-validations': [{ rule: 'true' }] };
    const list = { type: 'object', properties: { l: { type: 'array', items: text } }, ...rule };
    assert.deepEqual(
      ruled(list, 'x').flatMap(([its, path]) => unbounded(its, path)),
      ['x.l: no maxItems', 'x.l[]: no maxLength'],
    );
  });
});

/** What every object has is no part of a rule's cost. */
function withoutIdentity(schema: Json | undefined): Json | undefined {
  if (!isObject(schema) || !isObject(schema.properties)) return schema;
  return { ...schema, properties: without(schema.properties, 'apiVersion', 'kind') };
}

/** Each schema that has rules, with its path. */
function ruled(schema: Json | undefined, path: string): readonly (readonly [Json, string])[] {
  if (!isObject(schema)) return [];
  const own = listAt(schema, 'x-kubernetes-validations').length > 0 ? [[schema, path] as const] : [];
  return [...own, ...inner(schema, path).flatMap(([its, where]) => ruled(its, where))];
}

function unbounded(schema: Json | undefined, path: string): readonly string[] {
  if (!isObject(schema)) return [];
  const word = { array: 'maxItems', string: 'maxLength' }[String(schema.type)];
  const isMap = isObject(schema.additionalProperties) && schema.maxProperties === undefined;
  const isFixed =
    schema.enum !== undefined || ['date-time', 'date', 'duration'].includes(String(schema.format));
  const own = word !== undefined && schema[word] === undefined && !isFixed ? [`${path}: no ${word}`] : [];
  return [
    ...own,
    ...(isMap ? [`${path}: no maxProperties`] : []),
    ...inner(schema, path).flatMap(([its, where]) => unbounded(its, where)),
  ];
}

function inner(schema: Readonly<Record<string, Json>>, path: string): readonly (readonly [Json, string])[] {
  const members = isObject(schema.properties) ? Object.entries(schema.properties) : [];
  return [
    ...members.map(([name, its]) => [its, `${path}.${name}`] as const),
    ...(schema.items === undefined ? [] : [[schema.items, `${path}[]`] as const]),
    ...(isObject(schema.additionalProperties) ? [[schema.additionalProperties, `${path}{}`] as const] : []),
  ];
}
