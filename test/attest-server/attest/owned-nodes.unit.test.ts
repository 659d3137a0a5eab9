import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { OwnedNode } from '../../../attest-server/attest/owned-node.ts';
import { OwnedNodes } from '../../../attest-server/attest/owned-nodes.ts';
import { madeNode, madeStatus, madeVerdict } from '../store/made-records.ts';

describe('the nodes that a server owns', () => {
  /** With what is released, in order. */
  function made() {
    const released: string[] = [];
    const nodes = new OwnedNodes([
      { release: (name) => released.push(`claims of ${name}`) },
      { release: (name) => released.push(`supplements of ${name}`) },
    ]);
    return { nodes, released };
  }
  const statusOf = (name: string) => madeStatus(madeNode(name), madeVerdict('trusted'), 0);
  const judge = (node: OwnedNode) => {
    node.status = statusOf(node.name);
  };
  const names = (nodes: OwnedNodes) => [...nodes.all()].map(({ name }) => name);

  it('are forgotten by dropping them, with what they claim beside others', () => {
    const { nodes, released } = made();
    const node = nodes.of('a');
    judge(node);
    judge(nodes.of('b'));
    assert.equal(nodes.of('a'), node);
    nodes.drop(node);
    assert.deepEqual(released, ['claims of a', 'supplements of a']);
    assert.deepEqual(
      [names(nodes), nodes.get('a'), nodes.statuses().map(({ name }) => name)],
      [['b'], undefined, ['b']],
    );
    assert.notEqual(nodes.of('a'), node);
  });

  it('have one thing done after the other, and several side by side', async () => {
    const { nodes } = made();
    const done: string[] = [];
    const gate = Promise.withResolvers<void>();
    const work = [
      nodes.inOrder('a', async () => {
        await gate.promise;
        done.push('a 1');
        throw new Error('made');
      }),
      nodes.inOrder('a', async () => void done.push('a 2')),
      nodes.inOrder('b', async () => void done.push('b')),
    ];
    await work[2];
    gate.resolve();
    await assert.rejects(work[0] ?? assert.fail(), /made/);
    await work[1];
    assert.deepEqual(done, ['b', 'a 1', 'a 2']);
  });

  it('are not there for what is done in their name alone', async () => {
    const { nodes } = made();
    await nodes.inOrder('nobody', async () => {});
    await assert.rejects(nodes.inOrder('nobody', () => Promise.reject(new Error('made'))));
    await nodes.idle();
    assert.deepEqual(names(nodes), []);
    await nodes.inOrder('a', async (node) => judge(node));
    await nodes.idle();
    assert.deepEqual(names(nodes), ['a']);
  });

  it('that were dropped while work waited leave it to who follows, in the same order', async () => {
    const { nodes } = made();
    const had: OwnedNode[] = [];
    const done: string[] = [];
    const work = async (node: OwnedNode, what: string) => {
      had.push(node);
      await Promise.resolve();
      done.push(what);
    };
    const first = nodes.of('a');
    judge(first);
    const all = [
      nodes.inOrder('a', async (node) => nodes.drop(node)),
      nodes.inOrder('a', (node) => work(node, 'recall').then(() => judge(node))),
      nodes.inOrder('a', (node) => work(node, 'judge')),
    ];
    await nodes.idle();
    assert.deepEqual(done, ['recall', 'judge']);
    await Promise.all(all);
    assert.equal(had[0], had[1]);
    assert.notEqual(had[0], first);
    assert.equal(nodes.get('a'), had[0]);
  });
});
