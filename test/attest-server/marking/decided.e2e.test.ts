import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { clusterView, unmarkAnswer } from '../../../attest-server/protocol/cluster-api.ts';
import { trustedCondition, trustedLabel } from '../../../attest-server/protocol/marks.ts';
import { binaryFrame } from '../../../attest-server/protocol/messages.ts';
import { simulateAnswer } from '../../../attest-server/protocol/policy-api.ts';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { isObject } from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator, serviceAccount } from '../../../swtpm-fixtures/api-server/users.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { introduce } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { namespaceOfServer } from '../kubernetes/namespace-of-server.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';
import { defineResources } from './defined-resources.ts';

const good = recordedLog('debian13-sdboot-uki');
const bad = tamper(good, 'kernel');
const policyOf = (mode: string) =>
  `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - name: workers\n    nodes: ["*"]\n    mode: ${mode}\n    require: [identity, boot]\n`;

/** Each test goes on where the one before it ended. */
describe('what people decide about a cluster', () => {
  let api: ApiServer;
  let world: TestServer;
  let dir: string;
  const tpms = new Map<string, ForgedTpm>();
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-decided-'));
    const policy = join(dir, 'policy.yaml');
    await writeFile(policy, policyOf('enforce'));
    api = await openApiServer({ rbac: false });
    await api.as(administrator).request('POST', '/api/v1/namespaces', namespaceOfServer);
    await defineResources(api);
    const kubeconfig = await api.kubeconfig(serviceAccount('assay', 'assay-server'));
    world = await startTestServer({ kubeconfig, agentTokens: 'never', policy });
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await api?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });

  async function answer(node: string, bootLog: Buffer, resetCount: number): Promise<string> {
    const tpm = tpms.get(node) ?? assert.fail();
    const peer = await introduce(world, tpm, node);
    const challenge = await peer.challenge();
    peer.send(binaryFrame('bootLog', bootLog));
    const sha256 = replayedValues(bootLog, 'sha256');
    const bootId = `6f9619ff-8b86-d011-b42d-${String(resetCount).padStart(12, '0')}`;
    const occasion = { node, hello: peer.hello, channel: peer.channel, bootLog, bootId };
    const quote = (data: Buffer) =>
      madeQuote(tpm.ak, data, { pcrs: { sha256 }, resetCount, clock: BigInt(resetCount * 1000) });
    peer.send(tpm.evidence(challenge, occasion, { quote }));
    const { state } = await peer.verdict();
    await peer.close();
    return state;
  }
  /** `-`, or taints of ours and the label. */
  function marksOf(node: string): string {
    const { metadata, spec, status } =
      api.store.get('/nodes', node)?.object ?? assert.fail(`no Node ${node}`);
    const taints = isObject(spec) && Array.isArray(spec.taints) ? spec.taints.filter(isObject) : [];
    const conditions = isObject(status) && Array.isArray(status.conditions) ? status.conditions : [];
    const condition = conditions.filter(isObject).find(({ type }) => type === trustedCondition);
    const words = [
      ...taints.map(({ key, value }) => `${String(key).replace('assay.dev/', '')}=${value}`),
      ...(metadata.labels?.[trustedLabel] === 'true' ? ['label'] : []),
      ...(condition === undefined ? [] : [String(condition.status)]),
    ];
    return words.join(' ') || '-';
  }
  const reaches = (node: string, marks: string) => world.until(() => marksOf(node) === marks, 10_000);
  const shown = async () => clusterView.parse(await world.call('GET', '/v1/cluster'));
  const untrusted = 'untrusted=kernel_unknown False';

  it('begins with one node that is trusted and one that is not', async () => {
    for (const node of ['node-1', 'node-2']) {
      await api.createNode(node);
      const tpm = forgedTpm();
      tpms.set(node, tpm);
      await world.pin(node, tpm.ekDigest);
    }
    await answer('node-1', good, 7);
    await world.call('POST', '/v1/references', { node: 'node-1', name: 'good' });
    for (const node of tpms.keys()) assert.equal(await answer(node, good, 7), 'trusted');
    assert.equal(await answer('node-2', bad, 8), 'untrusted');
    await reaches('node-1', 'label True');
    await reaches('node-2', untrusted);
  });

  it('lets an exempt node work without its taint, and never with the label', async () => {
    const body = { node: 'node-2', reason: 'the only one with that disk', forSeconds: 3600 };
    await world.call('POST', '/v1/cluster/exemptions', body);
    await reaches('node-2', 'False');
    assert.equal((await world.status('node-2'))?.state, 'untrusted');
    assert.equal(await answer('node-2', bad, 8), 'untrusted');
    assert.equal(marksOf('node-2'), 'False');
    assert.deepEqual(
      (await shown()).exemptions.map(({ node, reason }) => [node, reason]),
      [['node-2', body.reason]],
    );
    await world.restart();
    await world.until(async () => (await shown()).synced);
    assert.equal((await shown()).exemptions.length, 1);
    const short = { node: 'node-2', reason: 'over soon', forSeconds: 1 };
    await world.call('POST', '/v1/cluster/exemptions', short);
    await reaches('node-2', untrusted);
    const ended = (await world.audit()).findLast(({ action }) => action === 'exempt.end');
    assert.deepEqual([ended?.actor, ended?.subject], ['server', 'node-2']);
  });

  it('adds no mark while it is paused, takes the label all the same, and marks afterwards', async () => {
    await world.call('POST', '/v1/cluster/pause', { reason: 'a wrong reference' });
    assert.equal(await answer('node-1', bad, 8), 'untrusted');
    await world.until(() => !marksOf('node-1').includes('label'));
    assert.ok(!marksOf('node-1').includes('untrusted'), marksOf('node-1'));
    await world.call('POST', '/v1/cluster/resume', {});
    // Two nodes of two: the second one waits for a person.
    await world.until(async () => (await shown()).failing.some(({ decision }) => decision === 'open'));
    assert.equal(marksOf('node-1'), 'False');
    await world.call('POST', '/v1/cluster/breaker/release', { reason: 'it is bad', groups: ['workers'] });
    await reaches('node-1', untrusted);
    assert.equal(await answer('node-1', good, 9), 'trusted');
    await reaches('node-1', 'label True');
  });

  it('says in a trial which marks another policy would change', async () => {
    const tried = { policy: policyOf('observe'), file: 'policy.yaml' };
    const { items, latched } = simulateAnswer.parse(await world.call('POST', '/v1/policy/simulate', tried));
    assert.deepEqual(
      items.map(({ node, marks }) => [node, marks]),
      [
        ['node-1', { before: { taints: [], label: true }, after: { taints: [], label: false } }],
        [
          'node-2',
          {
            before: { taints: ['assay.dev/untrusted=kernel_unknown'], label: false },
            after: { taints: [], label: false },
          },
        ],
      ],
    );
    assert.deepEqual(latched, []);
  });

  it('refuses a weaker policy once trust is enabled, also at a start', async () => {
    await world.call('POST', '/v1/cluster/trust', { groups: ['workers'] });
    const file = join(dir, 'policy.yaml');
    await writeFile(file, policyOf('observe'));
    await assert.rejects(world.server.reload(), /policy\.yaml:6: groups\.0\.mode: latched: /);
    assert.equal((await shown()).groups[0]?.mode, 'enforce');
    const tried = { policy: policyOf('observe'), file: 'policy.yaml' };
    const trial = simulateAnswer.parse(await world.call('POST', '/v1/policy/simulate', tried));
    assert.deepEqual(
      trial.latched.map(({ field }) => field),
      ['groups.0.mode'],
    );
    await world.restart();
    await world.until(async () => (await shown()).synced);
    await world.until(async () => (await shown()).latch?.inCluster === true);
    const view = await shown();
    assert.deepEqual(
      [view.groups[0]?.mode, view.latch?.groups, view.latch?.faults],
      ['enforce', ['workers'], []],
    );
    assert.equal(marksOf('node-2'), untrusted);
    const refused = (await world.audit()).filter(({ action }) => action === 'reload.refuse');
    assert.equal(refused.length, 2);
  });

  it('frees every node and trusts none where a latched cluster is uninstalled, (row 105)', async () => {
    const token = (body: object) => world.call('POST', '/v1/cluster/unmark', body);
    await assert.rejects(token({}), /409 .*latched/);
    await assert.rejects(token({ clusterUid: 'another', reason: 'moved' }), /409 .*latched/);
    assert.equal(marksOf('node-1'), 'label True');
    const { uid } = await world.until(async () => {
      const view = await shown();
      return view.uid === null ? null : view;
    });
    const done = unmarkAnswer.parse(await token({ clusterUid: uid, reason: 'moved' }));
    assert.deepEqual([...done.nodes].sort(), ['node-1', 'node-2']);
    assert.deepEqual([marksOf('node-1'), marksOf('node-2')], ['-', '-']);
    assert.equal(await answer('node-1', good, 9), 'trusted');
    await world.restart();
    await world.until(async () => (await shown()).lease?.ours === true);
    assert.deepEqual([marksOf('node-1'), marksOf('node-2')], ['-', '-']);
    const view = await shown();
    assert.deepEqual([view.pause?.reason, view.latch?.groups], ['moved', ['workers']]);
    await world.call('POST', '/v1/cluster/resume', {});
    await reaches('node-1', 'label True');
    await reaches('node-2', untrusted);
  });

  it('ends an exemption with the enrolment: another machine of that name was not meant', async () => {
    const body = { node: 'node-2', reason: 'a demo', forSeconds: 3600 };
    await world.call('POST', '/v1/cluster/exemptions', body);
    await world.call('POST', '/v1/enrolments/node-2/revoke', { reason: 'sold' });
    await world.until(async () => (await shown()).exemptions.length === 0);
    await reaches('node-2', 'pending=undefined Unknown');
  });
});
