import assert from 'node:assert/strict';
import { before, describe, it } from 'mocha';
import { openApiServer } from '../../swtpm-fixtures/api-server/api-server.ts';
import { type JsonObject, textAt, textsAt } from '../../swtpm-fixtures/api-server/json.ts';
import { collectionOf, objectsOf } from '../../swtpm-fixtures/api-server/manifest-objects.ts';
import { administrator } from '../../swtpm-fixtures/api-server/users.ts';
import { chartFolder, helm, needsTools } from './kubernetes-tools.ts';
import { renderEach } from './many-values.ts';
import { parseObjects } from './parse-objects.ts';
import { baseObjects } from './renderings.ts';

const policy = (...modes: readonly (string | null)[]): JsonObject => ({
  policy: {
    apiVersion: 'assay.dev/v1',
    kind: 'Policy',
    groups: modes.map((mode, index) => ({
      name: `group-${index}`,
      nodes: [index === modes.length - 1 ? '*' : `${index}-*`],
      enrolment: ['pin'],
      require: ['identity'],
      ...(mode !== null && { mode }),
    })),
  },
});
const latched = { trust: { latched: true, auditKeyCopy: 'in the safe' } };
const declared = {
  server: { declared: { configMaps: ['fleet'], keys: [`RW${'a'.repeat(54)} merge`] } },
};

/** What is done with a write that a policy is against, by the binding; and whether the policy is there. */
const actionsOf = (objects: readonly JsonObject[]) =>
  Object.fromEntries(
    objects
      .filter((one) => textAt(one, 'kind') === 'ValidatingAdmissionPolicyBinding')
      .map((binding) => {
        const name = textAt(binding, 'metadata', 'name') ?? '';
        assert.equal(textAt(binding, 'spec', 'policyName'), name);
        assert.ok(
          objects.some(
            (one) =>
              textAt(one, 'kind') === 'ValidatingAdmissionPolicy' && textAt(one, 'metadata', 'name') === name,
          ),
          name,
        );
        return [name, textsAt(binding, 'spec', 'validationActions')];
      }),
  );
const both = (...actions: readonly string[]) => ({
  'assay-attestations': actions,
  'assay-latch': ['Deny'],
  'assay-marks': actions,
});

describe('admission, as the chart has it', function () {
  this.timeout(60_000);

  const cases: readonly (readonly [what: string, JsonObject, Readonly<Record<string, readonly string[]>>])[] =
    [
      ['warns and denies nothing where no group marks', {}, both('Warn', 'Audit')],
      ['does so where a group says nothing of its mode', policy(null), both('Warn', 'Audit')],
      ['denies as soon as one group of several labels', policy('observe', 'label', null), both('Deny')],
      ['denies where a group enforces', policy('enforce'), both('Deny')],
      ['denies under the latch', { ...policy('label'), ...latched }, both('Deny')],
      ['denies where a policy may come that the chart cannot read', declared, both('Deny')],
      [
        'warns there too, where it is told',
        { ...declared, admission: { action: 'Warn' } },
        both('Warn', 'Audit'),
      ],
      ['denies where it is told', { admission: { action: 'Deny' } }, both('Deny')],
      ['only notes where it is told', { admission: { action: 'Audit' } }, both('Audit')],
      [
        'is there for the latch alone where it is switched off',
        { admission: { enabled: false } },
        { 'assay-latch': ['Deny'] },
      ],
    ];
  let rendered: readonly (readonly JsonObject[])[] = [];
  before(async function () {
    needsTools(this);
    rendered = await renderEach(
      cases.map(([, values]) => values),
      'admission/',
    );
  });
  for (const [index, [what, , wanted]] of cases.entries())
    it(what, () => assert.deepEqual(actionsOf(rendered[index] ?? []), wanted));

  it('denies in a cluster that has the latch, whatever the values say of it', async function () {
    needsTools(this);
    await using api = await openApiServer();
    const asked = async (path: string, body: JsonObject) => {
      const { code, text } = await api.as(administrator).request('POST', path, body);
      assert.equal(code, 201, text);
    };
    const kubeconfig = await api.kubeconfig(administrator);
    // Definition and latch outlived a release of before.
    const cluster = ['--dry-run=server', '--take-ownership', '--kubeconfig', kubeconfig];
    const render = async (...args: readonly string[]) => {
      const text = await helm('install', 'assay', chartFolder, '--namespace', 'default', ...cluster, ...args);
      const [, manifests = ''] = /^MANIFEST:$([\s\S]*?)^NOTES:$/m.exec(text) ?? [];
      return actionsOf(parseObjects(manifests));
    };
    assert.deepEqual(await render(), both('Warn', 'Audit'));
    for (const object of objectsOf('crds/assaylatches.yaml')) await asked(collectionOf(object), object);
    assert.deepEqual(await render(), both('Warn', 'Audit'));
    await asked('/apis/assay.dev/v1alpha1/assaylatches', {
      apiVersion: 'assay.dev/v1alpha1',
      kind: 'AssayLatch',
      metadata: { name: 'cluster' },
      spec: { groups: [], by: 'token:alice', enabledAt: '2026-11-27T00:00:00Z' },
    });
    assert.deepEqual(await render(), both('Deny'));
    for (const value of ['action=Warn', 'enabled=false'])
      await assert.rejects(render('--set', `admission.${value}`), /cannot stand together/);
  });

  // Its policy is changed by a patch, which no template sees.
  it('denies in the base, whatever its policy becomes', () => {
    assert.deepEqual(actionsOf(baseObjects()), both('Deny'));
  });
});
