import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'mocha';
import { trustedCondition, trustedLabel } from '../../../attest-server/formats/marks.ts';
import { refusedUnmarking } from '../../../attest-server/marking/latch.ts';
import { ClusterError } from '../../../attest-server/marking/ports.ts';
import { oursOn, UnmarkFailed, unmarkAll } from '../../../attest-server/marking/unmark.ts';
import { MadeCluster, madeClusterNode } from './made-cluster.ts';

const ready = { type: 'Ready', status: 'True' };
const foreignTaint = { key: 'example.com/mine', value: 'x', effect: 'NoExecute' };
const startup = 'startup-taint.example.com/assay';
const keys = [startup];

describe('unmarking a cluster', () => {
  let cluster: MadeCluster;
  let waits: number[];
  beforeEach(() => {
    cluster = new MadeCluster();
    waits = [];
    cluster.add(
      madeClusterNode('plain', { taints: [foreignTaint] }),
      madeClusterNode('good', {
        labels: { [trustedLabel]: 'true', 'example.com/pool': 'a' },
        conditions: [ready, { type: trustedCondition, status: 'True' }],
      }),
      madeClusterNode('bad', {
        taints: [
          foreignTaint,
          { key: 'assay.dev/untrusted', value: 'kernel_unknown', effect: 'NoSchedule' },
          { key: 'assay.dev/of-an-earlier-version', effect: 'NoSchedule' },
          { ...foreignTaint, effect: 'NoSchedule' },
          { key: startup, effect: 'NoSchedule' },
        ],
        conditions: [{ type: trustedCondition, status: 'False' }, ready],
      }),
    );
    cluster.attestationNames.add('good').add('gone-long-ago');
  });

  const unmark = () =>
    unmarkAll({
      nodes: () => cluster.nodes.all(),
      writer: cluster.writer,
      keys,
      wait: async (ms) => void waits.push(ms),
    });

  it('removes what is ours and nothing else, also where no record tells of the node', async () => {
    assert.deepEqual(await unmark(), { nodes: ['good', 'bad'], attestations: 2 });
    const after = new Map([...cluster.nodes.all()].map((node) => [node.name, node]));
    assert.deepEqual(after.get('good')?.labels, { 'example.com/pool': 'a' });
    assert.deepEqual(after.get('good')?.conditions, [ready]);
    assert.deepEqual(after.get('bad')?.taints, [foreignTaint, { ...foreignTaint, effect: 'NoSchedule' }]);
    assert.deepEqual(after.get('bad')?.conditions, [ready]);
    assert.equal(after.get('plain')?.resourceVersion, '1');
    assert.deepEqual([...cluster.attestationNames], []);
    assert.deepEqual(oursOn(cluster.nodes.all(), keys), []);
  });

  it('removes every label before it removes what keeps pods away', async () => {
    cluster.add(madeClusterNode('last', { labels: { [trustedLabel]: 'true' } }));
    await unmark();
    const order = cluster.requests.filter((request) => request.startsWith('patch '));
    assert.deepEqual(order.slice(0, 2).sort(), ['patch good', 'patch last']);
    assert.ok(order.indexOf('patch bad') >= 2);
  });

  it('changes nothing when it is done again', async () => {
    await unmark();
    cluster.requests.length = 0;
    assert.deepEqual(await unmark(), { nodes: [], attestations: 0 });
    assert.deepEqual(cluster.requests, ['list attestations']);
  });

  it('begins again where somebody changed the Node meanwhile, and touches nothing of theirs', async () => {
    let changes = 2;
    cluster.meanwhile = (name) => {
      if (name !== 'bad' || changes === 0) return;
      changes -= 1;
      const before = cluster.nodesByName.get('bad')?.taints ?? [];
      cluster.change('bad', { taints: [{ key: `example.com/${changes}`, effect: 'NoSchedule' }, ...before] });
    };
    await unmark();
    assert.deepEqual(
      cluster.nodesByName.get('bad')?.taints.map(({ key }) => key),
      ['example.com/0', 'example.com/1', 'example.com/mine', 'example.com/mine'],
    );
    assert.deepEqual(waits, []);
  });

  it('waits as long as the API wants, and goes on where a Node is gone', async () => {
    cluster.meanwhile = (name) => {
      if (name === 'bad') cluster.nodesByName.delete('bad');
    };
    cluster.faults.push(new ClusterError('too_many', 'slow down', 3000));
    await unmark();
    assert.deepEqual(waits, [3000]);
    assert.deepEqual(oursOn(cluster.nodes.all(), keys), []);
  });

  it('leaves every taint where a label cannot be removed, and names the node', async () => {
    cluster.faults.push(new ClusterError('forbidden', 'the server may not patch nodes'));
    await assert.rejects(unmark(), (error) => {
      assert.ok(error instanceof UnmarkFailed);
      assert.deepEqual(error.nodes, ['good']);
      assert.match(error.message, /the label .* good: the server may not patch nodes/);
      return true;
    });
    assert.equal(cluster.nodesByName.get('bad')?.taints.length, 5);
  });

  it('gives up on a Node that is written all the time, after the others are done', async () => {
    cluster.meanwhile = (name) => {
      if (name === 'bad') cluster.change('bad', {});
    };
    await assert.rejects(unmark(), /marks could not be removed from bad/);
    assert.equal(cluster.nodesByName.get('good')?.labels[trustedLabel], undefined);
  });

  for (const [what, latched, given, isRefused] of [
    ['no latch', false, { clusterUid: null, reason: null }, false],
    ['the latch and no uid', true, { clusterUid: null, reason: 'moved' }, true],
    ['the latch and no reason', true, { clusterUid: 'cluster-1', reason: null }, true],
    ['the latch and the uid of another cluster', true, { clusterUid: 'cluster-2', reason: 'moved' }, true],
    ['the latch, the uid and a reason', true, { clusterUid: 'cluster-1', reason: 'moved' }, false],
  ] as const)
    it(`is ${isRefused ? 'refused' : 'done'} with ${what}`, () => {
      const latch = latched ? { groups: [], by: 'token:admin', at: 0 } : null;
      assert.equal(refusedUnmarking(latch, given, 'cluster-1') !== null, isRefused);
    });
});
