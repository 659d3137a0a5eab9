import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { clusterView, trustTrial, unmarkTrial } from '../../../attest-server/api/cluster-api.ts';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { problem } from '../../../attest-server/api/problem.ts';
import { statusView } from '../../../attest-server/api/server-api.ts';
import { showCopy } from '../../../attest-server/formats/audit-key-copy.ts';
import { defaultTaintKeys, trustedLabel } from '../../../attest-server/formats/marks.ts';
import { ClusterError } from '../../../attest-server/marking/ports.ts';
import { observePolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import { auditKeyId } from '../../../attest-server/wire/checkpoint.ts';
import { type MadeKey, madeKey } from '../audit/made-key.ts';
import { madeClusterNode } from '../marking/made-cluster.ts';
import { type MadeControl, madeControl } from '../marking/made-control.ts';
import { madeStatus } from '../marking/made-marking.ts';
import { type ApiServer, ask, emptyWorld, enrolled, now, startApi } from './api-fixture.ts';

const alike = {
  group: 'default',
  code: 'kernel_unknown',
  value: 'kernel abcd',
  nodes: 5,
  tainted: 1,
  waiting: 4,
  isMass: true,
  isOurs: false,
} as const;
const hold = { group: 'default', code: 'kernel_unknown', value: 'kernel abcd', at: now } as const;
const because = (more: object = {}) => JSON.stringify({ reason: 'the night', ...more });

describe('the API of marks', () => {
  let made: MadeControl;
  let server: ApiServer;
  const world = emptyWorld();
  beforeEach(async () => {
    made = await madeControl(() => now);
    world.cluster = made.control;
    world.auditKey = key.origin;
    world.nodes.set('node-1', { enrolled: enrolled('node-1'), status: null });
    made.cluster.add(madeClusterNode('node-1'), madeClusterNode('node-2'));
    made.statuses.set('node-1', madeStatus('node-1', { state: 'untrusted' }));
    server = await startApi(world);
  });
  afterEach(async () => {
    await server.close();
    await made[Symbol.asyncDispose]();
  });

  const post = (path: string, body: string, token = 'operator-token') =>
    ask(server, path, { method: 'POST', token, body });
  const shown = async () => clusterView.parse(JSON.parse((await ask(server, '/v1/cluster')).text));
  const key = madeKey();
  /** What whoever has a copy of the audit key posts. */
  const trustIn = (...groups: readonly string[]) =>
    JSON.stringify({ groups, auditKeyCopy: showCopy(key.text) });
  const codeOf = ({ text }: { readonly text: string }) => problem.parse(JSON.parse(text)).code;

  it('shows groups, who marks, what fails alike, and that nothing is decided', async () => {
    made.failing = [alike];
    const view = await shown();
    assert.deepEqual(
      [view.uid, view.synced, view.nodes, view.lease, view.pause, view.latch, view.exemptions],
      ['cluster-1', true, 2, { holder: 'server-1', ours: true }, null, null, []],
    );
    assert.deepEqual(view.groups, [{ name: 'default', mode: 'enforce', latched: false, nodes: 2 }]);
    assert.deepEqual([view.failing[0]?.waiting, view.failing[0]?.decision], [4, null]);
  });

  it('pauses and resumes', async () => {
    assert.equal((await post('/v1/cluster/pause', because())).status, 201);
    assert.equal((await shown()).pause?.by, 'token:operator');
    assert.equal((await post('/v1/cluster/pause', '{}')).status, 400);
    assert.deepEqual(JSON.parse((await post('/v1/cluster/resume', '{}')).text), { wasPaused: true });
    assert.deepEqual(JSON.parse((await post('/v1/cluster/resume', '{}')).text), { wasPaused: false });
    assert.equal((await shown()).pause, null);
  });

  it('holds and releases what waits, and says where nothing does', async () => {
    made.failing = [alike];
    assert.equal((await post('/v1/cluster/breaker/release', because())).status, 404);
    await made.decisions.hold({ ...hold, decision: 'open', by: null, reason: null });
    const held = await post('/v1/cluster/breaker/hold', because({ groups: ['default'] }));
    assert.deepEqual(JSON.parse(held.text).items, [
      {
        group: 'default',
        code: 'kernel_unknown',
        value: 'kernel abcd',
        nodes: 5,
        tainted: 1,
        waiting: 4,
        ours: false,
        decision: 'held',
        at: new Date(now).toISOString(),
        by: 'token:operator',
        reason: 'the night',
      },
    ]);
    assert.equal((await post('/v1/cluster/breaker/hold', because())).status, 404);
    assert.equal((await post('/v1/cluster/breaker/release', because({ groups: ['gpu'] }))).status, 404);
    assert.equal(
      (await post('/v1/cluster/breaker/release', because({ code: 'kernel_unknown' }))).status,
      201,
    );
    assert.equal((await shown()).failing[0]?.decision, 'released');
    assert.deepEqual(await made.actions(), [
      'server breaker.open',
      'token:operator breaker.hold',
      'token:operator breaker.release',
    ]);
  });

  it('sends whoever has a policy that the latch refuses to the check that knows the latch', async () => {
    world.faulty.push({ part: 'policy', at: now, text: 'latched', refused: null });
    const nextOf = async () =>
      statusView.parse(JSON.parse((await ask(server, '/v1/status')).text)).faulty[0]?.next ?? '';
    assert.match(await nextOf(), /^assay policy check \S+$/);
    await made.control.enableTrust([], { by: 'token:admin', copyOf: '00000000' });
    assert.match(await nextOf(), /^assay policy check \S+ --latched$/);
    world.faulty.length = 0;
  });

  it('shows the marks of a node beside it, and nothing where none are known', async () => {
    const untrusted = { key: defaultTaintKeys.untrusted, value: 'kernel_unknown' };
    made.marks.set('node-1', {
      observed: { taints: [untrusted], foreignForm: false, label: 'false', condition: null },
      marks: { taints: [], label: false, condition: null, suppressed: 'exempt' },
      tamperedAt: now,
      resource: null,
    });
    const marksOf = async (node: string) =>
      nodeView.parse(JSON.parse((await ask(server, `/v1/nodes/${node}`)).text)).marks;
    assert.deepEqual(await marksOf('node-1'), {
      there: { taints: ['assay.dev/untrusted=kernel_unknown'], label: false, condition: null },
      wanted: { taints: [], label: false, condition: null },
      suppressed: 'exempt',
      tamperedAt: new Date(now).toISOString(),
      resource: null,
    });
    const { items } = JSON.parse((await ask(server, '/v1/nodes')).text);
    assert.equal(items[0].marks.suppressed, 'exempt');
    made.marks.clear();
    assert.equal(await marksOf('node-1'), null);
  });

  it('exempts a node for a time, shows that with the node, and ends it', async () => {
    const exempt = (more: object) => post('/v1/cluster/exemptions', because({ node: 'node-1', ...more }));
    assert.equal((await exempt({ forSeconds: 7200 })).status, 201);
    const view = nodeView.parse(JSON.parse((await ask(server, '/v1/nodes/node-1')).text));
    assert.deepEqual(view.exemption, {
      node: 'node-1',
      reason: 'the night',
      by: 'token:operator',
      at: new Date(now).toISOString(),
      until: new Date(now + 7_200_000).toISOString(),
    });
    assert.equal(view.state, 'pending');
    const listed = JSON.parse((await ask(server, '/v1/nodes')).text);
    assert.equal(listed.items[0].exemption.by, 'token:operator');
    const end = () =>
      ask(server, '/v1/cluster/exemptions/node-1', { method: 'DELETE', token: 'operator-token' });
    assert.equal((await end()).status, 200);
    assert.equal((await end()).status, 404);
    assert.deepEqual((await shown()).exemptions, []);
  });

  for (const [what, body] of [
    ['no end', {}],
    ['two ends', { until: new Date(now + 1000).toISOString(), forSeconds: 1 }],
    ['an end that has passed', { until: new Date(now).toISOString() }],
    ['an end after 31 days', { until: new Date(now + 31 * 86_400_000).toISOString() }],
    ['an end that is no moment', { until: 'tomorrow' }],
    ['no reason', { forSeconds: 60, reason: undefined }],
    ['a reason of two lines', { forSeconds: 60, reason: 'a\nb' }],
  ] as const)
    it(`refuses an exemption with ${what}`, async () => {
      const answer = await post('/v1/cluster/exemptions', because({ node: 'node-1', ...body }));
      assert.equal(answer.status, 400);
      assert.deepEqual((await shown()).exemptions, []);
    });

  it('exempts a Node that nobody has enrolled, and none that is not there', async () => {
    const exempt = (node: string) => post('/v1/cluster/exemptions', because({ node, forSeconds: 60 }));
    assert.equal((await exempt('node-2')).status, 201);
    assert.equal((await exempt('node-3')).status, 404);
  });

  it('says whom the latch would touch, and enables it in store and cluster', async () => {
    const tolerant = ['pending', 'reproving', 'untrusted'].map((key) => ({
      key: `assay.dev/${key}`,
      operator: 'Exists',
    }));
    made.cluster.workloads = {
      daemonSets: [
        { namespace: 'kube-system', name: 'cni', tolerations: [{ operator: 'Exists' }] },
        { namespace: 'assay', name: 'agent', tolerations: tolerant },
        { namespace: 'logs', name: 'shipper', tolerations: tolerant.slice(1) },
      ],
      pendingPods: [{ namespace: 'shop', name: 'web-1', tolerations: [] }],
    };
    const trial = trustTrial.parse(JSON.parse((await ask(server, '/v1/cluster/trust')).text));
    assert.deepEqual(trial, {
      groups: [],
      faults: [],
      nodes: [
        { name: 'node-1', group: 'default', state: 'untrusted' },
        { name: 'node-2', group: 'default', state: 'pending' },
      ],
      daemonSets: [{ namespace: 'logs', name: 'shipper' }],
      pendingPods: [{ namespace: 'shop', name: 'web-1' }],
      auditKey: { origin: key.origin.origin, keyId: keyIdOf(key) },
    });
    assert.equal(made.cluster.latch, null);
    assert.equal((await post('/v1/cluster/trust', trustIn(), 'admin-token')).status, 201);
    assert.deepEqual((await made.cluster.writer.readLatch())?.groups, []);
    const view = await shown();
    assert.deepEqual(
      [view.latch?.groups, view.latch?.by, view.latch?.inCluster, view.groups[0]?.latched],
      [[], 'token:admin', true, true],
    );
    assert.equal((await post('/v1/cluster/trust', trustIn('default'), 'admin-token')).status, 201);
    assert.deepEqual((await shown()).latch?.groups, [], 'it never shrinks');
  });

  it('enables it only for whoever shows a copy of the audit key, and notes of which', async () => {
    const bodies = [
      ['{}', /none was shown/],
      [JSON.stringify({ auditKeyCopy: showCopy(key.earlier) }), /replaced since/],
      [JSON.stringify({ auditKeyCopy: showCopy(madeKey().text) }), /another installation/],
    ] as const;
    for (const [body, why] of bodies) {
      const refused = await post('/v1/cluster/trust', body, 'admin-token');
      assert.deepEqual([refused.status, codeOf(refused)], [409, 'audit_key_not_copied']);
      assert.match(refused.text, why);
      assert.match(problem.parse(JSON.parse(refused.text)).next ?? '', /--audit-key-copy/);
    }
    assert.deepEqual([made.cluster.latch, await made.actions()], [null, []]);
    assert.equal((await post('/v1/cluster/trust', trustIn(), 'admin-token')).status, 201);
    const [entry] = await made.store.audit.entries({ limit: 1 });
    assert.deepEqual(entry?.detail, { groups: 'all', auditKeyCopy: keyIdOf(key) });
  });

  it('refuses the latch while a covered group is in observe, or is none', async () => {
    assert.equal((await post('/v1/cluster/trust', trustIn('gpu'), 'admin-token')).status, 409);
    made.groups = observePolicy.groups;
    assert.equal((await post('/v1/cluster/trust', trustIn(), 'admin-token')).status, 409);
    const trial = trustTrial.parse(JSON.parse((await ask(server, '/v1/cluster/trust?groups=default')).text));
    assert.match(trial.faults[0] ?? '', /observe/);
    assert.deepEqual([made.cluster.latch, await made.actions()], [null, []]);
  });

  it('unmarks a latched cluster only by its uid, with a reason, (row 105)', async () => {
    made.cluster.change('node-1', { labels: { [trustedLabel]: 'true' } });
    await post('/v1/cluster/trust', trustIn(), 'admin-token');
    const unmark = (body: object) => post('/v1/cluster/unmark', JSON.stringify(body), 'admin-token');
    for (const body of [{}, { reason: 'moved' }, { clusterUid: 'cluster-2', reason: 'moved' }]) {
      const refused = await unmark(body);
      assert.deepEqual([refused.status, codeOf(refused)], [409, 'latched']);
    }
    assert.equal((await shown()).pause, null);
    const trial = await ask(server, '/v1/cluster/unmark', { token: 'admin-token' });
    assert.deepEqual(
      unmarkTrial.parse(JSON.parse(trial.text)).nodes.map(({ node }) => node),
      ['node-1'],
    );
    const done = await unmark({ clusterUid: 'cluster-1', reason: 'moved' });
    assert.deepEqual(JSON.parse(done.text), { nodes: ['node-1'], attestations: 0 });
    assert.deepEqual(made.cluster.nodesByName.get('node-1')?.labels, {});
    const view = await shown();
    assert.equal(view.pause?.reason, 'moved', 'else the marks would come back');
    assert.deepEqual(view.latch?.groups, [], 'the latch stays');
    assert.ok((await made.actions()).includes('token:admin cluster.unmark'));
  });

  it('unmarks nothing while another server marks: the marks would come back', async () => {
    made.cluster.change('node-1', { labels: { [trustedLabel]: 'true' } });
    made.isLeader = false;
    const refused = await post('/v1/cluster/unmark', '{}', 'admin-token');
    assert.deepEqual([refused.status, codeOf(refused)], [409, 'conflict']);
    assert.deepEqual([(await shown()).pause, (await shown()).lease?.ours], [null, false]);
    assert.equal(made.cluster.nodesByName.get('node-1')?.labels[trustedLabel], 'true');
  });

  it('reads the latch of the cluster before it unmarks: a new store knows nothing of it', async () => {
    made.cluster.latch = { groups: [], by: 'token:admin', enabledAt: new Date(now).toISOString() };
    assert.equal(codeOf(await post('/v1/cluster/unmark', '{}', 'admin-token')), 'latched');
  });

  it('says that the cluster is at fault where its API is', async () => {
    made.cluster.faults.push(new ClusterError('unreachable', 'the API of the cluster gives no answer'));
    const answer = await ask(server, '/v1/cluster/trust');
    assert.deepEqual([answer.status, codeOf(answer)], [502, 'cluster_failed']);
    made.cluster.faults.push(new ClusterError('unreachable', 'the API of the cluster gives no answer'));
    assert.equal((await shown()).uid, null);
    assert.equal(world.faults.length, 1, 'the log of the server says it, too');
  });

  it('is not there where the server is in no cluster', async () => {
    world.cluster = null;
    const other = await startApi(world);
    for (const path of ['/v1/cluster', '/v1/cluster/trust'])
      assert.equal((await ask(other, path)).status, 409);
    const paused = await ask(other, '/v1/cluster/pause', {
      method: 'POST',
      token: 'operator-token',
      body: because(),
    });
    assert.equal(paused.status, 409);
    await other.close();
  });
});

function keyIdOf({ origin: { origin, keys } }: MadeKey): string {
  return auditKeyId(origin, Buffer.from(keys.at(-1)?.publicKey ?? '', 'base64'));
}
