import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { run, ToolError } from 'node-tpm2/run';
import {
  attestationResource,
  defaultTaintKeys,
  latchResource,
  markPrefixes,
  resourceGroup,
  resourceVersion,
  trustedCondition,
  trustedLabel,
} from '../../attest-server/formats/marks.ts';
import { at, listAt, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { manifestFiles, objectsOf } from '../../swtpm-fixtures/api-server/manifest-objects.ts';

const root = join(import.meta.dirname, '..', '..');
const [policy] = objectsOf('admission/marks.yaml');
const expressions = ['matchConditions', 'variables', 'validations']
  .flatMap((part) => listAt(policy, 'spec', part))
  .map((one) => textAt(one, 'expression') ?? '');

describe('manifests of a cluster', () => {
  it('are all in the list of those that tests apply', () => {
    const found = globSync('{namespaces.yaml,{crds,admission,rbac}/*}', {
      cwd: join(root, 'manifests/base'),
    });
    assert.deepEqual(found.sort(), [...manifestFiles].sort());
  });

  it('define the resources by the names that the server uses', () => {
    for (const [file, { plural, kind }] of [
      ['crds/nodeattestations.yaml', attestationResource],
      ['crds/assaylatches.yaml', latchResource],
    ] as const) {
      const [definition] = objectsOf(file);
      assert.deepEqual(
        [textAt(definition, 'metadata', 'name'), textAt(definition, 'spec', 'names', 'kind')],
        [`${plural}.${resourceGroup}`, kind],
      );
      const versions = listAt(definition, 'spec', 'versions').map((version) => textAt(version, 'name'));
      assert.deepEqual(versions, [resourceVersion]);
    }
  });

  it('keep what the latch rests on when a chart is removed', () => {
    for (const file of ['crds/assaylatches.yaml', 'admission/latch.yaml'] as const) {
      for (const object of objectsOf(file)) {
        assert.equal(at(object, 'metadata', 'annotations', 'helm.sh/resource-policy'), 'keep');
      }
    }
  });

  it('protect the marks that the server sets, by one pattern in every place', () => {
    const patterns = expressions.flatMap((text) =>
      [...text.matchAll(/matches\('([^']+)'\)/g)].map(([, one]) => one),
    );
    const [startup] = patterns.filter((pattern) => pattern?.includes('pending'));
    const [key, ...others] = [...new Set(patterns.filter((pattern) => pattern !== startup))];
    assert.deepEqual(others, []);
    const isOurs = new RegExp(key ?? '');
    for (const taint of Object.values(defaultTaintKeys)) assert.match(taint, isOurs);
    for (const prefix of ['startup-taint', 'status-taint'])
      assert.match(`${prefix}.cluster-autoscaler.kubernetes.io/assay-x`, isOurs);
    for (const taint of ['node.kubernetes.io/not-ready', 'xassay.dev/a', 'assay.development/a']) {
      assert.doesNotMatch(taint, isOurs);
    }
    const { pending, ...rest } = defaultTaintKeys;
    assert.match(`${pending}=:NoSchedule`, new RegExp(startup ?? ''));
    for (const taint of Object.values(rest))
      assert.doesNotMatch(`${taint}=:NoSchedule`, new RegExp(startup ?? ''));
    const named = expressions.flatMap((text) => [
      ...[...text.matchAll(/startsWith\('([^']+)'\)/g)].map(([, one = '']) => one),
      ...[...text.matchAll(/labels\[\??'([^']+)'\]/g)].map(([, one = '']) => one),
    ]);
    assert.deepEqual([...new Set(named)].sort(), [markPrefixes.own, trustedLabel].sort());
    assert.ok(trustedCondition.startsWith(markPrefixes.own));
  });

  it('let the server pass before anything else is looked at', () => {
    const [first] = listAt(policy, 'spec', 'matchConditions');
    const { metadata } = objectsOf('rbac/server.yaml').find((one) => one.kind === 'ServiceAccount') ?? {};
    const name = `system:serviceaccount:${textAt(metadata, 'namespace')}:${textAt(metadata, 'name')}`;
    assert.equal(textAt(first, 'expression'), `request.userInfo.username != '${name}'`);
  });

  it('have a job that unmarks with the rights of assay-exempt alone, in a pod without rights on its node', async () => {
    const [account, role, binding, job] = objectsOf('unmark/unmark.yaml');
    const name = textAt(account, 'metadata', 'name');
    assert.equal(textAt(binding, 'roleRef', 'name'), textAt(role, 'metadata', 'name'));
    const exempt = objectsOf('rbac/people.yaml').find(
      (one) => textAt(one, 'metadata', 'name') === 'assay-exempt',
    );
    assert.ok(listAt(exempt, 'rules').length > 0);
    assert.deepEqual(at(role, 'rules'), at(exempt, 'rules'));
    assert.deepEqual(at(binding, 'subjects'), [{ kind: 'ServiceAccount', name, namespace: 'assay' }]);
    const pod = at(job, 'spec', 'template', 'spec');
    assert.equal(textAt(pod, 'serviceAccountName'), name);
    assert.equal(at(pod, 'securityContext', 'runAsNonRoot'), true);
    assert.equal(textAt(pod, 'securityContext', 'seccompProfile', 'type'), 'RuntimeDefault');
    // It must run where every Node carries our taints.
    assert.deepEqual(at(pod, 'tolerations'), [{ operator: 'Exists', effect: 'NoSchedule' }]);
    const [container] = listAt(pod, 'containers');
    assert.deepEqual(at(container, 'securityContext'), {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    const main = join(root, 'attest-server', 'cli', 'main.ts');
    const args = listAt(container, 'args').map(String);
    await assert.rejects(
      run(process.execPath, [main, ...args], { timeoutMs: 60_000, maxOutputBytes: 64 * 1024 }),
      // The command line is good; what it lacks is a pod.
      (error) => error instanceof ToolError && error.exitCode === 1,
    );
  });

  it('have the server, DNS and the like start where every Node carries our taints, and trust by the label alone', () => {
    const tolerated = Object.values(defaultTaintKeys).map((key) => ({
      key,
      operator: 'Exists',
      effect: 'NoSchedule',
    }));
    const [server] = objectsOf('server/statefulset.yaml');
    assert.deepEqual(at(server, 'spec', 'template', 'spec', 'tolerations'), tolerated);
    const [tolerates] = objectsOf('../examples/tolerates.yaml');
    assert.deepEqual(at(tolerates, 'spec', 'template', 'spec', 'tolerations'), tolerated);
    const [demands] = objectsOf('../examples/demands-trust.yaml');
    const [term] = listAt(
      at(demands, 'spec', 'template', 'spec', 'affinity', 'nodeAffinity'),
      'requiredDuringSchedulingIgnoredDuringExecution',
      'nodeSelectorTerms',
    );
    assert.deepEqual(at(term, 'matchExpressions'), [{ key: trustedLabel, operator: 'In', values: ['true'] }]);
    assert.equal(at(demands, 'spec', 'template', 'spec', 'tolerations'), undefined);
  });

  it('start each Node as the unit of a host does', () => {
    for (const [unit, file, container] of [
      ['assay-server', 'server/statefulset.yaml', 'server'],
      ['assay-tpm-broker', 'agent/daemonset.yaml', 'tpm-broker'],
      ['assay-netfilter', 'agent/daemonset.yaml', 'netfilter'],
      ['assay-agent', 'agent/daemonset.yaml', 'agent'],
    ] as const) {
      const text = readFileSync(join(root, 'manifests/host', `${unit}.service`), 'utf8');
      const ofUnit = Array.from(text.matchAll(/^Environment="([^=]+)=(.*)"$/gm), ([, name, value]) => ({
        name,
        value,
      }));
      const isSet = ({ name }: { readonly name: unknown }) =>
        /^(?:NODE_OPTIONS|MALLOC_.*)$/.test(String(name));
      const [workload] = objectsOf(file);
      const found = listAt(workload, 'spec', 'template', 'spec', 'containers').find(
        (one) => textAt(one, 'name') === container,
      );
      assert.ok(found !== undefined, container);
      const ofPod = listAt(found, 'env').map((one) => ({
        name: textAt(one, 'name'),
        value: at(one, 'value'),
      }));
      assert.deepEqual(ofPod.filter(isSet), ofUnit.filter(isSet), container);
    }
  });

  it('fail closed, and deny', () => {
    for (const file of ['marks', 'latch', 'attestations'] as const) {
      const [its, binding] = objectsOf(`admission/${file}.yaml`);
      assert.equal(textAt(its, 'spec', 'failurePolicy'), 'Fail');
      assert.deepEqual(at(binding, 'spec', 'validationActions'), ['Deny']);
      assert.equal(textAt(binding, 'spec', 'policyName'), textAt(its, 'metadata', 'name'));
      // A parameter that is missing would stop every heartbeat, or let everything pass.
      assert.equal(at(its, 'spec', 'paramKind'), undefined);
      // What has line breaks has a message beside it, else the API takes no such policy.
      for (const validation of listAt(its, 'spec', 'validations')) assert.ok(textAt(validation, 'message'));
    }
  });
});
