import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import {
  at,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  textAt,
  textsAt,
} from '../../swtpm-fixtures/api-server/json.ts';
import { rights } from '../cluster/rights.ts';
import { allManifests } from './renderings.ts';

describe('the rights of the manifests', () => {
  // The same table is asked of an API server, one by one.
  const [, , wanted = []] = rights.find(([who]) => who === 'the server') ?? [];

  for (const { name, objects } of allManifests) {
    // Its namespaces have other names.
    if (name.endsWith('minimal')) continue;

    it(`are for the server those that tests ask for, and not one more, in ${name}`, async function () {
      const granted = rulesOf(await objects(this), 'assay-server').flatMap(([rule, namespace]) =>
        linesOf(rule, namespace),
      );
      assert.deepEqual([...new Set(granted)].sort(), wanted.flatMap(each).sort());
    });

    it(`are none for the agents, in ${name}`, async function () {
      assert.deepEqual(rulesOf(await objects(this), 'assay-agent'), []);
    });

    it(`name no group, no verb and no resource by a star, in ${name}`, async function () {
      for (const object of await objects(this))
        for (const rule of listAt(object, 'rules')) assert.doesNotMatch(JSON.stringify(rule), /\*/);
    });
  }
});

/** Rules that bindings give to an account, each with the namespace that it is bound to. */
function rulesOf(
  all: readonly JsonObject[],
  account: string,
): readonly (readonly [rule: Json, namespace: string | undefined])[] {
  return all
    .filter((one) => /^(Cluster)?RoleBinding$/.test(textAt(one, 'kind') ?? ''))
    .filter((one) =>
      listAt(one, 'subjects').some(
        (subject) => textAt(subject, 'name') === account || textAt(subject, 'kind') !== 'ServiceAccount',
      ),
    )
    .flatMap((binding) => {
      const namespace = textAt(binding, 'metadata', 'namespace');
      const role = all.find(
        (one) =>
          textAt(one, 'kind') === textAt(binding, 'roleRef', 'kind') &&
          textAt(one, 'metadata', 'name') === textAt(binding, 'roleRef', 'name') &&
          (textAt(one, 'kind') === 'ClusterRole' || textAt(one, 'metadata', 'namespace') === namespace),
      );
      assert.ok(isObject(role), `${textAt(binding, 'roleRef', 'name')} is there`);
      return listAt(role, 'rules').map((rule) => [rule, namespace] as const);
    });
}

/** As test/cluster/rights.ts writes them, one verb a line. */
function linesOf(rule: Json, namespace: string | undefined): readonly string[] {
  assert.equal(at(rule, 'nonResourceURLs'), undefined);
  const names = textsAt(rule, 'resourceNames');
  return textsAt(rule, 'apiGroups').flatMap((group) =>
    textsAt(rule, 'resources').flatMap((resource) =>
      textsAt(rule, 'verbs').flatMap((verb) =>
        (names.length > 0 ? names : [undefined]).map((called) =>
          [
            `${verb} ${resource}${group === '' ? '' : `.${group}`}`,
            ...(namespace === undefined ? [] : [`in ${namespace}`]),
            ...(called === undefined ? [] : [`called ${called}`]),
          ].join(' '),
        ),
      ),
    ),
  );
}

function each(line: string): readonly string[] {
  const [verbs = '', ...rest] = line.split(' ');
  return verbs.split(',').map((verb) => [verb, ...rest].join(' '));
}
