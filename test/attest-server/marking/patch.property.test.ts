import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { trustedCondition, trustedLabel } from '../../../attest-server/formats/marks.ts';
import type { Marks } from '../../../attest-server/marking/marks.ts';
import { marksOn } from '../../../attest-server/marking/marks-on-node.ts';
import { nodePatch, statusPatch } from '../../../attest-server/marking/patch.ts';
import type { NodeCondition, Taint } from '../../../attest-server/marking/ports.ts';
import { keys, today } from './made-marking.ts';
import { ModelCluster, type StoredNode } from './model-cluster.ts';

const name = 'node-1';
const ourKeys = Object.values(keys);
const effects = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'] as const;
const taint = (key: fc.Arbitrary<string>): fc.Arbitrary<Taint & Readonly<Record<string, unknown>>> =>
  fc.record(
    { key, effect: fc.constantFrom(...effects), value: fc.constantFrom('', 'a', 'b'), later: fc.nat(9) },
    { requiredKeys: ['key', 'effect'] },
  );
const foreignTaint = taint(
  fc.constantFrom('a', 'b/c', 'assay.dev', 'assay.dev/pendin', 'ex.com/assay.dev~1'),
);
const ourTaint = taint(fc.constantFrom(...ourKeys));
const foreignLabel = fc.constantFrom('a', 'b/c', 'assay.node-restriction.kubernetes.io/other');
const condition = (type: fc.Arbitrary<string>): fc.Arbitrary<NodeCondition> =>
  fc.record(
    {
      type,
      status: fc.constantFrom('True', 'False', 'Unknown'),
      reason: fc.constantFrom('A', 'B'),
      message: fc.constantFrom('', 'm'),
      lastTransitionTime: fc.constant('2026-01-01T00:00:00Z'),
    },
    { requiredKeys: ['type', 'status'] },
  );

/** What strangers do to a Node, ours and theirs alike. */
const strange = fc.oneof(
  fc.record({ what: fc.constant('taint' as const), taint: fc.oneof(foreignTaint, ourTaint), at: fc.nat(5) }),
  fc.record({ what: fc.constant('untaint' as const), at: fc.nat(5) }),
  fc.record({
    what: fc.constant('label' as const),
    key: fc.oneof(foreignLabel, fc.constant(trustedLabel)),
    value: fc.option(fc.constantFrom('true', 'false', '')),
  }),
  fc.record({
    what: fc.constant('condition' as const),
    condition: condition(fc.constantFrom('Ready', 'assay.dev/Trust', trustedCondition)),
  }),
  fc.record({
    what: fc.constant('forget' as const),
    list: fc.constantFrom('taints', 'conditions', 'labels'),
  }),
);
const wanted: fc.Arbitrary<Marks> = fc.record({
  taints: fc.uniqueArray(
    fc.record({ key: fc.constantFrom(...ourKeys), value: fc.constantFrom('', 'kernel_unknown') }),
    { selector: ({ key }) => key },
  ),
  label: fc.boolean(),
  condition: fc.option(
    fc.record({
      status: fc.constantFrom('True', 'False', 'Unknown'),
      reason: fc.constantFrom('Trusted', 'KernelUnknown'),
      message: fc.constantFrom('', 'because'),
    }),
  ),
  suppressed: fc.constant(null),
});
type Strange = typeof strange extends fc.Arbitrary<infer T> ? T : never;

describe('the patch of a Node', () => {
  it('makes ours what they are to be, and changes nothing of others, over 10,000 steps', async function () {
    this.timeout(60_000);
    const steps = 100;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(strange, fc.option(wanted)), { minLength: steps, maxLength: steps }),
        async (all) => {
          const cluster = new ModelCluster();
          cluster.create(name, { createdAt: today });
          for (const [stranger, marks] of all) {
            cluster.change(name, (node) => doTo(node, stranger));
            if (marks !== null) await markAndCompare(cluster, marks);
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  it('is not applied to a Node that changed meanwhile', async () => {
    const cluster = new ModelCluster();
    cluster.create(name, {
      taints: [
        { key: 'a', effect: 'NoSchedule' },
        { key: keys.pending, effect: 'NoSchedule' },
      ],
    });
    const node = cluster.get(name);
    assert.ok(node);
    const { operations } = nodePatch(node, { taints: [], label: true }, keys);
    cluster.change(name, ({ spec }) => void spec.taints?.shift());
    await assert.rejects(cluster.patchNode(name, operations), { reason: 'conflict' });
    assert.deepEqual(cluster.taintsOf(name), ['assay.dev/pending:NoSchedule']);
  });

  it('keeps the moment of the transition while the status stays', async () => {
    const cluster = new ModelCluster();
    cluster.create(name);
    const set = async (reason: string, status: 'True' | 'False', at: number) => {
      const node = cluster.get(name);
      assert.ok(node);
      const { operations } = statusPatch(node, { status, reason, message: '' }, at);
      await cluster.patchNode(name, operations, '/status');
      const found = cluster.conditionOf(name, trustedCondition);
      return [found?.lastTransitionTime, found?.lastHeartbeatTime];
    };
    const [first, second] = ['2026-11-27T00:00:00Z', '2026-11-27T00:00:01Z'];
    assert.deepEqual(await set('KernelUnknown', 'False', today), [first, first]);
    assert.deepEqual(await set('FwDrift', 'False', today + 1000), [first, second]);
    assert.deepEqual(await set('Trusted', 'True', today + 1000), [second, second]);
  });
});

async function markAndCompare(cluster: ModelCluster, marks: Marks): Promise<void> {
  const before = foreignOf(cluster.stored.get(name));
  const node = cluster.get(name);
  assert.ok(node);
  const spec = nodePatch(node, marks, keys);
  const after = spec.operations.length === 0 ? node : await cluster.patchNode(name, spec.operations);
  const status = statusPatch(after, marks.condition, today);
  const last =
    status.operations.length === 0 ? after : await cluster.patchNode(name, status.operations, '/status');
  assert.deepEqual(foreignOf(cluster.stored.get(name)), before);
  const found = marksOn(last, keys);
  const inOrder = (taints: Marks['taints']) => taints.map(({ key, value }) => `${key}=${value}`).sort();
  assert.deepEqual(inOrder(found.taints), inOrder(marks.taints));
  assert.equal(found.foreignForm, false);
  assert.equal(found.label, marks.label ? 'true' : null);
  const { status: is, reason, message } = found.condition ?? {};
  assert.deepEqual(
    found.condition && { status: is, reason, message },
    marks.condition && { ...marks.condition },
  );
  // What is right already is not written again.
  assert.deepEqual(nodePatch(last, marks, keys).actions, []);
  assert.deepEqual(statusPatch(last, marks.condition, today).actions, []);
}

/** All that is not ours, in its order, with members that nobody here knows. */
function foreignOf(node: StoredNode | undefined): unknown {
  assert.ok(node);
  const { labels = {} } = node.metadata;
  return structuredClone({
    name: node.metadata.name,
    uid: node.metadata.uid,
    labels: Object.entries(labels).filter(([key]) => key !== trustedLabel),
    taints: (node.spec.taints ?? []).filter(({ key }) => !ourKeys.includes(key)),
    conditions: (node.status.conditions ?? []).filter(({ type }) => type !== trustedCondition),
  });
}

function doTo(node: StoredNode, stranger: Strange): void {
  const { metadata, spec, status } = node;
  switch (stranger.what) {
    case 'taint': {
      const { taint: added, at } = stranger;
      const taints = spec.taints ?? [];
      // The API takes no taint of one key and effect twice.
      if (taints.some(({ key, effect }) => key === added.key && effect === added.effect)) return;
      taints.splice(Math.min(at, taints.length), 0, added);
      spec.taints = taints;
      return;
    }
    case 'untaint':
      spec.taints?.splice(stranger.at, 1);
      return;
    case 'label': {
      const labels = metadata.labels ?? {};
      if (stranger.value === null) delete labels[stranger.key];
      else labels[stranger.key] = stranger.value;
      metadata.labels = labels;
      return;
    }
    case 'condition': {
      const conditions = (status.conditions ?? []).filter(({ type }) => type !== stranger.condition.type);
      status.conditions = [stranger.condition, ...conditions];
      return;
    }
    case 'forget':
      if (stranger.list === 'taints') delete spec.taints;
      else if (stranger.list === 'conditions') delete status.conditions;
      else delete metadata.labels;
  }
}
