import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { describe, it } from 'mocha';
import { type JsonObject, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { kubectl, needsTools } from './kubernetes-tools.ts';
import { renderEach } from './many-values.ts';
import { parseObjects } from './parse-objects.ts';
import { containersOf, podOf } from './pod-security.ts';
import { allManifests, baseFolder } from './renderings.ts';

const root = join(import.meta.dirname, '../..');

/** Each container: its image, and when a kubelet asks a registry for it. */
function pullsOf(objects: readonly JsonObject[]): readonly { image: string; policy: string }[] {
  const pulls = objects.flatMap((object) =>
    containersOf(podOf(object) ?? {}).map(({ container }) => ({
      image: textAt(container, 'image') ?? '',
      policy: textAt(container, 'imagePullPolicy') ?? '',
    })),
  );
  assert.ok(pulls.length > 2);
  return pulls;
}

describe('the images of pods', function () {
  this.timeout(60_000);

  for (const { name, objects } of allManifests)
    it(`are never fetched under a name without a host, which is one of strangers, in ${name}`, async function () {
      for (const { image, policy } of pullsOf(await objects(this)))
        assert.equal(policy === 'Never', !/^[^/]*[.][^/]*\//.test(image), `${image}: ${policy}`);
    });

  it('are fetched from the registry that the values name, as they say', async function () {
    needsTools(this);
    const policies = ['IfNotPresent', 'Always', 'Never'];
    const registry = 'registry.example.org/assay';
    const all = await renderEach(policies.map((pullPolicy) => ({ image: { registry, pullPolicy } })));
    for (const [index, policy] of policies.entries())
      for (const pull of pullsOf(all[index] ?? [])) {
        assert.match(pull.image, /^registry\.example\.org\/assay\/assay-(agent|server):/);
        assert.equal(pull.policy, policy);
      }
  });

  it('are fetched from the registry of the kustomization that manifests/README.md shows', async function () {
    needsTools(this);
    const readme = await readFile(join(root, 'manifests/README.md'), 'utf8');
    const shown = /^```yaml\n(apiVersion: kustomize[^`]*)```$/m.exec(readme)?.[1];
    assert.ok(shown !== undefined);
    const folder = await mkdtemp(join(tmpdir(), 'assay-kustomize-'));
    try {
      await mkdir(join(folder, 'own'));
      const base = relative(join(folder, 'own'), baseFolder);
      await writeFile(
        join(folder, 'own/kustomization.yaml'),
        shown.replace('resources: [manifests/base]', `resources: [${base}]`),
      );
      const policy = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'assay-server' }, data: {} };
      await writeFile(join(folder, 'own/policy.yaml'), JSON.stringify(policy));
      for (const pull of pullsOf(parseObjects(await kubectl('kustomize', join(folder, 'own')))))
        assert.match(`${pull.policy} ${pull.image}`, /^IfNotPresent registry\.example\.org\/assay\/assay-/);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
