import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { at, isObject, type JsonObject, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { needsTools, type Rendering, refusalOf, renderChart } from './kubernetes-tools.ts';
import { parseObjects } from './parse-objects.ts';
import { titleOf } from './upgrade.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/gitops.md'), 'utf8');
const examples = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].flatMap(([, text = '']) => parseObjects(text));
const example = (kind: string) =>
  examples.find((one) => textAt(one, 'kind') === kind) ?? assert.fail(`the page has no ${kind}`);
const hooksOf = (objects: readonly JsonObject[], name: string) =>
  objects
    .filter((one) => textAt(one, 'metadata', 'name') === name)
    .map((one) => [
      textAt(one, 'metadata', 'namespace'),
      textAt(one, 'metadata', 'annotations', 'helm.sh/hook'),
    ]);
const objectAt = (object: JsonObject, ...path: readonly string[]): JsonObject => {
  const found = at(object, ...path);
  return isObject(found) ? found : assert.fail(path.join('.'));
};

describe('docs/gitops.md', function () {
  this.timeout(60_000);

  /** As its repository server does it: no cluster is asked, and the resources that it has are named. */
  const ofArgo = (values: JsonObject, namespace: string): Rendering => ({
    values,
    args: ['--namespace', namespace, '--api-versions', 'assay.dev/v1alpha1/AssayLatch'],
  });

  it('has Argo CD look at settings in the namespace of the server, before each sync, whatever they mount', async function () {
    needsTools(this);
    const application = example('Application');
    assert.equal(
      textAt(application, 'spec', 'source', 'helm', 'releaseName'),
      textAt(application, 'metadata', 'name'),
    );
    const values = objectAt(application, 'spec', 'source', 'helm', 'valuesObject');
    const namespace = textAt(application, 'spec', 'destination', 'namespace') ?? '';
    const wanted = {
      ...values,
      server: { webhook: { url: 'https://a.example.org', secret: { name: 'a' } } },
    };
    for (const each of [values, wanted]) {
      const all = await renderChart(ofArgo(each, namespace));
      const ofCheck = ['assay', 'pre-install,pre-upgrade'];
      assert.deepEqual(hooksOf(all, 'assay-check'), [ofCheck, ofCheck]);
      // Argo CD makes that one, with the label of the page.
      assert.deepEqual(all.filter((one) => textAt(one, 'kind') === 'Namespace').map(titleOf), [
        'Namespace assay-agents',
      ]);
      // It knows this hook by these very words.
      for (const [, hook] of hooksOf(all, 'assay-unmark')) assert.equal(hook, 'post-delete');
    }
    // With another namespace, as the page says.
    const elsewhere = hooksOf(await renderChart(ofArgo(values, 'argocd')), 'assay-check');
    assert.deepEqual(elsewhere[0], ['argocd', 'pre-install,pre-upgrade']);
    assert.deepEqual(hooksOf(await renderChart(ofArgo(wanted, 'argocd')), 'assay-check'), []);
  });

  it('has the latch said by a value where nobody can be asked', async function () {
    needsTools(this);
    const lossy = { server: { persistence: { enabled: false } } };
    assert.equal(await refusalOf(ofArgo(lossy, 'assay')), '');
    const groups = [{ name: 'all', nodes: ['*'], mode: 'label', enrolment: ['pin'], require: ['identity'] }];
    const said = await refusalOf(
      ofArgo(
        {
          ...lossy,
          trust: { latched: true, auditKeyCopy: 'in the safe' },
          policy: { apiVersion: 'assay.dev/v1', kind: 'Policy', groups },
        },
        'assay',
      ),
    );
    assert.match(said, /server\.persistence\.enabled: /);
  });

  it('gives each namespace of its examples the level that NOTES ask for', () => {
    const level = ['pod-security.kubernetes.io/enforce'];
    const application = example('Application');
    assert.equal(
      textAt(application, 'spec', 'syncPolicy', 'managedNamespaceMetadata', 'labels', ...level),
      'restricted',
    );
    const namespace = example('Namespace');
    assert.equal(textAt(namespace, 'metadata', 'labels', ...level), 'restricted');
    assert.equal(
      textAt(example('HelmRelease'), 'spec', 'targetNamespace'),
      textAt(namespace, 'metadata', 'name'),
    );
  });

  it('has values that the chart takes from Flux', async function () {
    needsTools(this);
    const release = example('HelmRelease');
    assert.equal(textAt(release, 'spec', 'releaseName'), 'assay');
    const values = objectAt(release, 'spec', 'values');
    const namespace = textAt(release, 'spec', 'targetNamespace') ?? '';
    const all = await renderChart({ values, args: ['--namespace', namespace] });
    assert.equal(hooksOf(all, 'assay-check')[0]?.[1], 'pre-install,pre-upgrade');
  });
});
