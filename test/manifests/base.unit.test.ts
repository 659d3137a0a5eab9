import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { parse } from 'yaml';
import { z } from 'zod';
import { isEqual, isList, isObject, type Json, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { kubectl, needsTools, renderChart } from './kubernetes-tools.ts';
import { parseObjects } from './parse-objects.ts';
import { baseValues } from './rendered-base.ts';
import { baseFolder, baseObjects } from './renderings.ts';
import { titleOf } from './upgrade.ts';

const files = globSync('**/*.yaml', { cwd: baseFolder, exclude: ['**/kustomization.yaml'] }).sort();

describe('manifests/base', function () {
  this.timeout(60_000);

  it('has each file in its kustomization, and the job that unmarks in its own', () => {
    assert.deepEqual(
      resourcesOf('.'),
      files.filter((file) => !file.startsWith('unmark/')),
    );
    assert.deepEqual(resourcesOf('unmark'), ['unmark.yaml']);
  });

  it('is taken by kustomize as it is', async function () {
    needsTools(this);
    for (const [folder, own] of [
      [baseFolder, (file: string) => !file.startsWith('unmark/')],
      [join(baseFolder, 'unmark'), (file: string) => file.startsWith('unmark/')],
    ] as const) {
      const built = parseObjects(await kubectl('kustomize', folder));
      const wanted = files
        .filter(own)
        .flatMap((file) => parseObjects(readFileSync(join(baseFolder, file), 'utf8')));
      assert.deepEqual(built.map(titleOf).sort(), wanted.map(titleOf).sort());
      const changed = wanted.filter((one) => !built.some((other) => isEqual(folded(one), folded(other))));
      assert.deepEqual(changed.map(titleOf), []);
    }
  });

  it('differs from a release of the chart in the namespace of that release and in its hooks', async function () {
    needsTools(this);
    const released = (await renderChart({ args: baseValues })).filter(
      (one) => textAt(one, 'metadata', 'annotations', 'helm.sh/hook') === undefined,
    );
    const ofBase = baseObjects().filter(
      (one) => textAt(one, 'metadata', 'annotations', 'helm.sh/hook') === undefined,
    );
    const own = ofBase.filter((one) => !released.some((other) => isEqual(one, other)));
    assert.deepEqual(own.map(titleOf), ['Namespace assay']);
    assert.equal(released.length, ofBase.length - 1);
  });
});

/** kustomize writes one line break more into a folded text; in an expression it means nothing. */
function folded(value: Json): Json {
  if (typeof value === 'string') return value.replace(/\n+/g, '\n');
  if (isList(value)) return value.map(folded);
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, folded(member)]));
}

function resourcesOf(folder: string): readonly string[] {
  const kustomization = z.strictObject({
    apiVersion: z.string(),
    kind: z.string(),
    resources: z.array(z.string()),
  });
  const text = readFileSync(join(baseFolder, folder, 'kustomization.yaml'), 'utf8');
  return kustomization.parse(parse(text)).resources.toSorted();
}
