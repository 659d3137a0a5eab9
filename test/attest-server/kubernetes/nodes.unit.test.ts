import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { administrator, kubelet } from '../../../swtpm-fixtures/api-server/users.ts';
import { type Opened, opened } from './opened.ts';

describe('the Nodes of a cluster', () => {
  let api: ApiServer;
  let room: Opened | null;
  before(async () => {
    api = await openApiServer({ rbac: false, bookmarkEvery: 50 });
  });
  after(() => api[Symbol.asyncDispose]());
  beforeEach(async () => {
    await api.as(administrator).request('DELETE', '/api/v1/nodes');
    api.log.clear();
    room = null;
  });
  afterEach(async () => {
    api.faults.clear();
    await room?.[Symbol.asyncDispose]();
  });
  const open = async (
    ...[config, timings]: [Parameters<typeof opened>[1]?, Parameters<typeof opened>[2]?]
  ) => {
    room = await opened(api, config, timings);
    return room;
  };
  const names = ({ kubernetes }: Opened) => [...kubernetes.nodes.all()].map(({ name }) => name).toSorted();
  const knows = (of: Opened, ...wanted: readonly string[]) =>
    until(() => of.kubernetes.nodes.synced() && names(of).join() === wanted.join());

  it('are all there after a list of many pages, and hold what is read of them and no more', async () => {
    for (let count = 0; count < 501; count++) await api.createNode(`node-${String(count).padStart(3, '0')}`);
    const taints = [{ key: 'example.com/a', value: 'b', effect: 'NoSchedule' }];
    await api.createNode('worker', {
      labels: { zone: 'a' },
      taints,
      providerID: 'aws:///a/i-1',
      systemUUID: 'EC2A1B2C-0000-4000-8000-000000000001',
    });
    const of = await open();
    assert.equal(of.kubernetes.nodes.synced(), false);
    await until(() => of.kubernetes.nodes.synced());
    assert.equal(names(of).length, 502);
    assert.equal(of.asked.filter((line) => line === 'list nodes 200').length, 6);
    const node = of.kubernetes.nodes.get('worker');
    assert.deepEqual(
      [node?.labels.zone, node?.taints, node?.providerId, node?.systemUuid],
      ['a', taints, 'aws:///a/i-1', 'EC2A1B2C-0000-4000-8000-000000000001'],
    );
    assert.ok(node?.conditions.some(({ type, status }) => type === 'Ready' && status === 'True'));
    assert.ok(Math.abs((node?.createdAt ?? 0) - Date.now()) < 60_000);
    assert.equal(JSON.stringify(node).includes('registry.example'), false);
    assert.equal(await of.kubernetes.cluster.providerIdOf('worker'), 'aws:///a/i-1');
    assert.equal(await of.kubernetes.cluster.providerIdOf('nobody'), null);
  });

  it('are told of as they come, change and go, with what was before; one that is made anew is another', async () => {
    await api.createNode('n1');
    const of = await open();
    const told: string[] = [];
    of.kubernetes.nodes.onChange((name, after, before) => {
      if (after?.uid === before?.uid && JSON.stringify(after?.labels) === JSON.stringify(before?.labels))
        return;
      told.push(`${name} ${before?.labels.a ?? '-'} ${after?.labels.a ?? '-'} ${before?.uid === after?.uid}`);
    });
    await knows(of, 'n1');
    await api
      .as(kubelet('n1'))
      .request(
        'PATCH',
        '/api/v1/nodes/n1',
        { metadata: { labels: { a: 'b' } } },
        'application/merge-patch+json',
      );
    await until(() => of.kubernetes.nodes.get('n1')?.labels.a === 'b');
    await api.createNode('n2');
    await knows(of, 'n1', 'n2');
    await api.as(administrator).request('DELETE', '/api/v1/nodes/n1');
    await knows(of, 'n2');
    await api.createNode('n1', { labels: { a: 'c' } });
    await knows(of, 'n1', 'n2');
    assert.deepEqual(told, ['n1 - - false', 'n1 - b true', 'n2 - - false', 'n1 b - false', 'n1 - c false']);
    assert.deepEqual(of.restarts, []);
  });

  it('are heard of from where a watch ended, without another list', async () => {
    await api.createNode('n1');
    const of = await open();
    await knows(of, 'n1');
    await until(() => api.watches === 1);
    api.dropWatches('end', 'nodes');
    await api.createNode('n2');
    await knows(of, 'n1', 'n2');
    await until(() => api.watches === 1);
    api.dropWatches('destroy', 'nodes');
    await api.as(administrator).request('DELETE', '/api/v1/nodes/n1');
    await knows(of, 'n2');
    assert.deepEqual(of.restarts.toSorted(), ['ended', 'unreachable']);
    assert.equal(of.asked.filter((line) => line.startsWith('list')).length, 1);
  });

  it('are listed again where the API forgot what it told, and what went meanwhile is gone', async () => {
    await api.createNode('n1');
    await api.createNode('n2');
    const of = await open();
    await knows(of, 'n1', 'n2');
    await until(() => api.watches === 1);
    api.dropWatches('expire', 'nodes');
    await until(() => of.restarts.includes('gone') && api.watches === 1);
    await knows(of, 'n1', 'n2');
    await api.stop();
    await api.as(administrator).request('DELETE', '/api/v1/nodes/n1');
    await api.createNode('n3');
    api.forgetHistory();
    await api.start();
    await knows(of, 'n2', 'n3');
    assert.ok(of.asked.filter((line) => line === 'list nodes 200').length >= 3);
  });

  it('are known again once an API that was away is back, and the log says both once', async () => {
    await api.stop();
    const of = await open();
    await until(() => of.restarts.length >= 3);
    assert.deepEqual([of.kubernetes.nodes.synced(), of.faults()], [false, ['unreachable']]);
    assert.equal(of.kubernetes.fault()?.reason, 'unreachable');
    await assert.rejects(of.kubernetes.cluster.providerIdOf('n1'), /not known at present/);
    await api.start();
    await api.createNode('n1');
    await knows(of, 'n1');
    assert.deepEqual([of.faults(), of.kubernetes.fault()], [[], null]);
    assert.deepEqual(
      of.lines.map(({ code }) => code),
      ['cluster_fault', 'cluster'],
    );
    assert.ok(of.asked.includes('list nodes none'));
  });

  it('are not read without the right to, and the log names the right', async () => {
    api.faults.add({ verbs: ['list'], resource: 'nodes', effect: { kind: 'forbidden' } });
    const of = await open();
    await until(() => of.restarts.length >= 2);
    assert.deepEqual(of.faults(), ['forbidden']);
    assert.ok(of.kubernetes.faults().some((fault) => fault.includes('no right to list nodes')));
    const said = of.lines.find(({ code }) => code === 'cluster_forbidden');
    assert.match(said?.msg ?? '', /no right to list nodes/);
    assert.equal(of.lines.filter(({ code }) => code === 'cluster_forbidden').length, 1);
    api.faults.clear();
    await knows(of);
    assert.deepEqual([of.faults(), of.kubernetes.faults()], [[], []]);
  });

  it('are not waited for where the API hangs: the watch begins again', async () => {
    await api.createNode('n1');
    using _hang = api.faults.add({ verbs: ['list'], times: 1, effect: { kind: 'hang', ms: 60_000 } });
    const of = await open({}, { requestWithin: 100 });
    await knows(of, 'n1');
    assert.deepEqual(of.restarts, ['unreachable']);
  });

  it('count as unknown again where nothing is heard for long', async () => {
    await api.createNode('n1');
    const of = await open({}, { staleAfter: 300 });
    await knows(of, 'n1');
    // Bookmarks alone keep it known.
    await sleep(600);
    assert.equal(of.kubernetes.nodes.synced(), true);
    await api.stop();
    await until(() => !of.kubernetes.nodes.synced());
    assert.deepEqual(names(of), ['n1']);
    await api.start();
    await knows(of, 'n1');
  });

  it('say whose agent must show a token, where machines outside of the cluster need none', async () => {
    await api.createNode('n1');
    await api.stop();
    const of = await open({ agentTokens: 'nodes' });
    const wanted = () => ['n1', 'outside'].map((name) => of.kubernetes.cluster.wantsToken(name));
    assert.deepEqual(wanted(), [true, true]);
    await api.start();
    await knows(of, 'n1');
    assert.deepEqual(wanted(), [true, false]);
    for (const [agentTokens, is] of [
      ['always', true],
      ['never', false],
    ] as const) {
      await using other = await opened(api, { agentTokens });
      assert.equal(other.kubernetes.cluster.wantsToken('outside'), is);
    }
  });

  it('are not asked for in a loop by an API that ends each watch at once', async () => {
    await api.createNode('n1');
    api.faults.add({ verbs: ['watch'], effect: { kind: 'failed' } });
    const of = await open({}, { backOffFrom: 100, backOffTo: 100 });
    await until(() => of.restarts.length >= 1);
    await sleep(500);
    assert.ok(of.restarts.length <= 11, `${of.restarts.length} times`);
    api.faults.clear();
    await api.createNode('n2');
    await knows(of, 'n1', 'n2');
  });

  it('close while a request is under way', async () => {
    api.faults.add({ verbs: ['list'], effect: { kind: 'hang', ms: 60_000 } });
    const of = await open({}, { requestWithin: 60_000 });
    const started = performance.now();
    await of[Symbol.asyncDispose]();
    assert.ok(performance.now() - started < 2_000);
    room = null;
  });
});

async function until(is: () => boolean): Promise<void> {
  const end = performance.now() + 10_000;
  while (!is()) {
    if (performance.now() > end) assert.fail(`never came: ${is}`);
    await sleep(5);
  }
}
