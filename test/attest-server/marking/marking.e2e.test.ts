import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { parse } from 'yaml';
import { trustedCondition, trustedLabel } from '../../../attest-server/formats/marks.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { isObject } from '../../../swtpm-fixtures/api-server/json.ts';
import { collectionOf, objectsOf } from '../../../swtpm-fixtures/api-server/manifest-objects.ts';
import { administrator, kubelet, serviceAccount } from '../../../swtpm-fixtures/api-server/users.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { introduce } from '../attacker.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { namespaceOfServer } from '../kubernetes/namespace-of-server.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';

const good = recordedLog('debian13-sdboot-uki');
const definition = join(import.meta.dirname, '../../../manifests/base/crds/nodeattestations.yaml');
const bad = tamper(good, 'kernel');
const foreign = { key: 'theirs', value: 'x', effect: 'NoSchedule' };
const server = serviceAccount('assay', 'assay-server');

/** Each test goes on where the one before it ended. */
describe('a server in a cluster', () => {
  let api: ApiServer;
  let world: TestServer;
  const tpms = new Map<string, ForgedTpm>();
  before(async () => {
    // What a service account may do is tried with manifests/base/rbac.
    api = await openApiServer({ rbac: false });
    await api.as(administrator).request('POST', '/api/v1/namespaces', namespaceOfServer);
    const crd = parse(await readFile(definition, 'utf8'));
    const target = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldValidation=Strict';
    const defined = await api.as(administrator).request('POST', target, crd);
    assert.equal(defined.code, 201, defined.text);
    world = await startTestServer({ kubeconfig: await api.kubeconfig(server), agentTokens: 'never' });
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await api?.[Symbol.asyncDispose]();
  });

  /** The node answers a challenge of a connection of its own; the state of the verdict. */
  async function answer(node: string, bootLog: Buffer, resetCount: number): Promise<string> {
    const tpm = tpms.get(node) ?? assert.fail();
    const peer = await introduce(world, tpm, node);
    const challenge = await peer.challenge();
    peer.send(binaryFrame('part', bootLog));
    const sha256 = replayedValues(bootLog, 'sha256');
    const occasion = {
      node,
      hello: peer.hello,
      channel: peer.channel,
      bootLog,
      bootId: bootIdOf(resetCount),
    };
    const quote = (data: Buffer) =>
      madeQuote(tpm.ak, data, { pcrs: { sha256 }, resetCount, clock: BigInt(resetCount * 1000) });
    peer.send(tpm.evidence(challenge, occasion, { quote }));
    const { state } = await peer.verdict();
    await peer.close();
    return state;
  }
  async function join(node: string): Promise<void> {
    await api.createNode(node, { taints: [foreign] });
    const tpm = forgedTpm();
    tpms.set(node, tpm);
    await world.pin(node, tpm.ekDigest);
  }
  function marksOf(node: string) {
    const object = api.store.get('/nodes', node)?.object ?? assert.fail(`no Node ${node}`);
    const { metadata, spec, status } = object;
    const taints = isObject(spec) && Array.isArray(spec.taints) ? spec.taints.filter(isObject) : [];
    const conditions = isObject(status) && Array.isArray(status.conditions) ? status.conditions : [];
    const condition = conditions.filter(isObject).find(({ type }) => type === trustedCondition);
    return {
      taints: taints.map(({ key, value = '' }) => (value === '' ? String(key) : `${key}=${value}`)),
      label: metadata.labels?.[trustedLabel] ?? null,
      condition: condition === undefined ? null : `${condition.status} ${condition.reason}`,
    };
  }
  const reaches = (node: string, taints: readonly string[], label: string | null, condition: string) =>
    world.until(() => {
      const marks = marksOf(node);
      const wanted = { taints: ['theirs=x', ...taints], label, condition };
      return JSON.stringify(marks) === JSON.stringify(wanted) ? true : null;
    }, 10_000);

  it('marks a Node as pending before anything is proven', async () => {
    for (const node of ['node-1', 'node-2', 'node-3']) await join(node);
    await reaches('node-1', ['assay.dev/pending'], null, 'Unknown Pending');
    assert.equal(await answer('node-1', good, 7), 'pending');
    await reaches('node-1', ['assay.dev/pending'], null, 'Unknown NoReference');
  });

  it('labels it once it is trusted, within a moment', async () => {
    await world.call('POST', '/v1/references', { node: 'node-1', name: 'good' });
    for (const node of tpms.keys()) assert.equal(await answer(node, good, 7), 'trusted');
    for (const node of tpms.keys()) await reaches(node, [], 'true', 'True Trusted');
  });

  it('taints one that booted another kernel, and takes the label (row 102)', async () => {
    assert.equal(await answer('node-2', bad, 8), 'untrusted');
    await reaches('node-2', ['assay.dev/untrusted=kernel_unknown'], null, 'False KernelUnknown');
    assert.equal(await world.metric('assay_circuit_breaker_open{scope="drift"}'), 0);
  });

  const resourceOf = (node: string) =>
    api.as(administrator).request('GET', `/apis/assay.dev/v1alpha1/nodeattestations/${node}`);
  const resourceIn = (node: string, state: string) =>
    world.until(async () => {
      const status = (await resourceOf(node)).body?.status;
      return isObject(status) && status.state === state ? status : null;
    }, 10_000);

  it('says all of it in a resource of its own, and in an Event', async () => {
    const { reason, codes, require, mode, group, marks } = await resourceIn('node-2', 'untrusted');
    assert.deepEqual(
      { reason, require, mode, group },
      {
        ...{ reason: 'kernel_unknown', require: ['identity', 'boot'], mode: 'enforce', group: 'default' },
      },
    );
    assert.ok(Array.isArray(codes) && codes[0] === 'kernel_unknown');
    assert.deepEqual(marks, { taints: ['assay.dev/untrusted=kernel_unknown'], trustedLabel: false });
    const told = await world.until(async () => {
      const { body } = await api.as(administrator).request('GET', '/api/v1/events');
      const items = Array.isArray(body?.items) ? body.items.filter(isObject) : [];
      return items.find((one) => one.reason === 'KernelUnknown') ?? null;
    });
    assert.ok(isObject(told.involvedObject) && told.involvedObject.name === 'node-2');
    assert.equal(told.type, 'Warning');
  });

  it('puts back what the kubelet says of itself (row 65)', async () => {
    const lie = { type: trustedCondition, status: 'True', reason: 'Trusted', message: 'so I say' };
    const object = api.store.get('/nodes', 'node-2')?.object;
    const { status } = object ?? assert.fail();
    const conditions = isObject(status) && Array.isArray(status.conditions) ? status.conditions : [];
    const others = conditions.filter((one) => !isObject(one) || one.type !== trustedCondition);
    const reply = await api
      .as(kubelet('node-2'))
      .request(
        'PATCH',
        '/api/v1/nodes/node-2/status',
        { status: { conditions: [...others, lie] } },
        'application/merge-patch+json',
      );
    assert.equal(reply.code, 200, reply.text);
    await reaches('node-2', ['assay.dev/untrusted=kernel_unknown'], null, 'False KernelUnknown');
    assert.equal(await world.metric('assay_refusals_total{code="label_tamper"}'), 1);
    const entry = (await world.audit()).find(({ action }) => action === 'marks.tamper');
    assert.equal(entry?.subject, 'node-2');
    assert.equal(entry?.code, 'label_tamper');
  });

  it('frees a node that booted the right kernel again', async () => {
    assert.equal(await answer('node-2', good, 9), 'trusted');
    await reaches('node-2', [], 'true', 'True Trusted');
  });

  it('gives its verdicts while the API hangs for 30 seconds, and marks when it is back', async () => {
    const fault = api.faults.add({ resource: 'nodes', effect: { kind: 'latency', ms: 30_000 } });
    const started = performance.now();
    assert.equal(await answer('node-2', bad, 10), 'untrusted');
    const waited = performance.now() - started;
    assert.ok(waited < 2000, `${Math.round(waited)} ms`);
    fault[Symbol.dispose]();
    // What waits for an answer learns that none comes.
    await api.stop();
    await api.start();
    await world.until(() => marksOf('node-2').label === null || null, 30_000);
  });

  it('leaves all marks to the server that has the lease', async () => {
    await using other = await startTestServer({
      kubeconfig: await api.kubeconfig(server),
      agentTokens: 'never',
    });
    await other.until(
      async () => (await other.metric('assay_reconcile_errors_total{reason="conflict"}')) === 0,
    );
    assert.equal(await other.metric('assay_enforcement_leader'), 0);
    assert.equal(await world.metric('assay_enforcement_leader'), 1);
    // It knows none of these nodes, and would mark them all as pending.
    assert.equal(marksOf('node-1').label, 'true');
  });

  it('holds the taints of a fleet that a wrong reference breaks, until a person releases them (row 67)', async () => {
    const more = ['node-4', 'node-5', 'node-6', 'node-7'];
    for (const node of more) await join(node);
    for (const node of more) assert.equal(await answer(node, good, 7), 'trusted');
    for (const node of more) await reaches(node, [], 'true', 'True Trusted');
    for (const node of more) assert.equal(await answer(node, bad, 8), 'untrusted');
    for (const node of more) await world.until(() => marksOf(node).label === null || null);
    await world.until(async () => (await world.metric('assay_circuit_breaker_open{scope="drift"}')) === 1);
    const isTainted = (node: string) => marksOf(node).taints.some((taint) => taint.includes('untrusted'));
    assert.ok(more.filter(isTainted).length <= 1);
    await world.call('POST', '/v1/cluster/breaker/release', { reason: 'it is an attack' });
    for (const node of more) await world.until(() => isTainted(node) || null);
    const actions = (await world.audit()).map(({ action }) => action);
    assert.ok(actions.includes('breaker.open') && actions.includes('breaker.release'));
  });

  it('trusts a node no more in its resource that was revoked, and removes it with its Node', async () => {
    assert.ok(isObject((await resourceIn('node-3', 'trusted')).aspects));
    await world.call('POST', '/v1/enrolments/node-3/revoke', { reason: 'it was sold' });
    const { marks, conditions } = await resourceIn('node-3', 'pending');
    assert.deepEqual(marks, { taints: ['assay.dev/pending'], trustedLabel: false });
    assert.ok(Array.isArray(conditions) && isObject(conditions[0]) && conditions[0].status === 'Unknown');
    await api.as(administrator).request('DELETE', '/api/v1/nodes/node-3');
    await world.until(async () => (await resourceOf('node-3')).code === 404, 10_000);
    for (const shows of ['old', 'least', 'none'])
      await world.until(
        async () => (await world.metric(`assay_enforcement_wrong_resources{shows="${shows}"}`)) === 0,
      );
  });

  it('says that admission protects none of it, until its policies are there (row 300)', async () => {
    const status = async () => {
      const { code, out, err } = await runAssay(['status'], { env: world.env(), now: Date.now });
      assert.equal(code, 0, err);
      return out;
    };
    const metrics = ['marks', 'attestations', 'latch'].map(
      (protects) => `assay_admission_fault{protects="${protects}",cause="missing"}`,
    );
    const shown = () => Promise.all(metrics.map((metric) => world.metric(metric)));
    await world.until(async () => (await shown())[0] === 1);
    // Nothing was latched here.
    assert.deepEqual(await shown(), [1, 1, 0]);
    const said = await status();
    assert.match(said, /admission does not protect the marks of Nodes: the policy assay-marks is missing/);
    assert.match(
      said,
      /admission does not protect NodeAttestations: the policy assay-attestations is missing/,
    );
    for (const file of ['admission/marks.yaml', 'admission/attestations.yaml'])
      for (const object of objectsOf(file)) {
        const made = await api.as(administrator).request('POST', collectionOf(object), object);
        assert.equal(made.code, 201, made.text);
      }
    await world.until(async () => (await shown()).every((value) => value === 0), 30_000);
    assert.doesNotMatch(await status(), /admission/);
  });

  it('never touched a taint, a label or a condition of somebody else', () => {
    const writes = api.log.writes({ user: server.name, resource: 'nodes' });
    assert.ok(writes.length > 10);
    for (const write of writes) assert.deepEqual(foreignOf(write.after), foreignOf(write.before));
  });
});

function foreignOf(object: unknown): unknown {
  assert.ok(isObject(object));
  const { metadata, spec, status } = object;
  assert.ok(isObject(metadata) && isObject(spec) && isObject(status));
  const labels = isObject(metadata.labels) ? Object.entries(metadata.labels) : [];
  const list = (value: unknown) => (Array.isArray(value) ? value.filter(isObject) : []);
  return {
    labels: labels.filter(([key]) => key !== trustedLabel),
    taints: list(spec.taints).filter(({ key }) => !String(key).startsWith('assay.dev/')),
    conditions: list(status.conditions).filter(({ type }) => type !== trustedCondition),
    annotations: metadata.annotations,
  };
}

function bootIdOf(resetCount: number): string {
  return `6f9619ff-8b86-d011-b42d-${String(resetCount).padStart(12, '0')}`;
}
