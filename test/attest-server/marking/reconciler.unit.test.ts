import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'mocha';
import type { NodeStatus } from '../../../attest-server/attest/ports.ts';
import { trustedCondition, trustedLabel } from '../../../attest-server/formats/marks.ts';
import { addressEvent } from '../../../attest-server/marking/node-events.ts';
import { ClusterError } from '../../../attest-server/marking/ports.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
import { trials } from '../../trials.ts';
import { hour, keys, madeStatus, today } from './made-marking.ts';
import { MarkedCluster, type MarkedOptions } from './marked-cluster.ts';

const minute = 60_000;
const name = 'node-1';
const drift = { state: 'untrusted', codes: ['kernel_unknown'], value: 'kernel sha256:aa' } as const;
const failed = { state: 'untrusted', codes: ['counter_rollback'] } as const;
const overdue = { state: 'unknown', codes: ['evidence_overdue'] } as const;
const trusted = { state: 'trusted' } as const;
const drifted = ['assay.dev/untrusted=kernel_unknown:NoSchedule'];

describe('the reconciler', () => {
  let opened: MarkedCluster[] = [];
  afterEach(async () => {
    for (const marked of opened) assert.deepEqual(marked.faults, []);
    await Promise.all(opened.map(({ reconciler }) => reconciler.close()));
    opened = [];
  });
  /** A cluster whose nodes are trusted and marked, and of which all was told. */
  async function marking(options: MarkedOptions = {}): Promise<MarkedCluster> {
    const marked = new MarkedCluster(options);
    opened.push(marked);
    await marked.settle();
    await marked.settle();
    marked.writes();
    marked.told.length = 0;
    return marked;
  }

  it('gives each trusted Node its label, its condition and its resource, and writes nothing more', async () => {
    const marked = new MarkedCluster();
    opened.push(marked);
    await marked.settle();
    const { cluster } = marked;
    assert.equal(cluster.labelOf(name, trustedLabel), 'true');
    assert.equal(cluster.conditionOf(name, trustedCondition)?.status, 'True');
    assert.equal(cluster.attested.get(name)?.state, 'trusted');
    marked.writes();
    await marked.pass(minute);
    reconcileAll(marked);
    await marked.settle();
    assert.deepEqual(marked.writes(), []);
  });

  it('taints a Node whose verdict fell, and says so once', async () => {
    const marked = await marking();
    marked.commit(name, failed);
    await marked.settle();
    assert.deepEqual(marked.cluster.taintsOf(name), ['assay.dev/untrusted=counter_rollback:NoSchedule']);
    assert.equal(marked.cluster.labelOf(name, trustedLabel), undefined);
    assert.equal(marked.cluster.conditionOf(name, trustedCondition)?.status, 'False');
    assert.equal(marked.cluster.attested.get(name)?.state, 'untrusted');
    assert.deepEqual(
      marked.cluster.events.map(({ event }) => `${event.type} ${event.reason}`),
      ['Warning CounterRollback'],
    );
    await marked.pass(minute);
    assert.equal(marked.cluster.events.length, 1);
  });

  it('says on a Node that a key went to a new address, and on none of a group that is only observed (row 404)', async () => {
    const marked = await marking();
    marked.commit(name, trusted);
    await marked.settle();
    marked.reconciler.note(name, addressEvent('192.0.2.9'));
    await marked.settle();
    const observed = await marking({ group: { mode: 'observe' } });
    observed.reconciler.note(name, addressEvent('192.0.2.9'));
    await observed.settle();
    assert.deepEqual(observed.cluster.events, []);
    const published = marked.cluster.events.map(({ event }) => `${event.reason}: ${event.message}`);
    assert.deepEqual(published, [
      'KeyToNewAddress: The key of its disk went to 192.0.2.9, to which no key of this node went before.',
    ]);
  });

  it('takes the taint away when the node is trusted again', async () => {
    const marked = await marking();
    marked.commit(name, failed);
    await marked.settle();
    marked.commit(name, trusted);
    await marked.settle();
    assert.deepEqual(marked.cluster.taintsOf(name), []);
    assert.equal(marked.cluster.labelOf(name, trustedLabel), 'true');
  });

  it('marks a Node at its creation, before anything is known of it', async () => {
    const marked = await marking();
    marked.cluster.create('node-9', { createdAt: today });
    await reconciled(marked);
    assert.deepEqual(marked.cluster.taintsOf('node-9'), ['assay.dev/pending:NoSchedule']);
  });

  it('marks a Node again that was deleted and made anew to shed its taint (row 11)', async () => {
    const marked = await marking();
    marked.commit(name, failed);
    await marked.settle();
    marked.cluster.delete(name);
    await reconciled(marked);
    marked.cluster.create(name, { createdAt: today + marked.at });
    await reconciled(marked);
    assert.deepEqual(marked.cluster.taintsOf(name), ['assay.dev/untrusted=counter_rollback:NoSchedule']);
    assert.equal(marked.told.includes(`tampered ${name}`), false);
  });

  it('takes the label of a node that is silent, and adds no taint (row 64)', async () => {
    const marked = await marking();
    marked.commit(name, overdue);
    await marked.settle();
    assert.equal(marked.cluster.labelOf(name, trustedLabel), undefined);
    assert.deepEqual(marked.cluster.taintsOf(name), []);
  });

  it('takes the label when a verdict ends, though nobody says so (row 68)', async () => {
    const marked = await marking();
    marked.statuses.set(name, madeStatus(name, trusted, { expiresAt: today + minute }));
    reconcileAll(marked);
    await marked.settle();
    assert.equal(marked.cluster.labelOf(name, trustedLabel), 'true');
    await marked.pass(minute + 2000);
    assert.equal(marked.cluster.labelOf(name, trustedLabel), undefined);
  });

  it('puts back what somebody changed, tells it, and leaves what is not ours (row 65)', async () => {
    const marked = await marking();
    marked.commit(name, failed);
    await marked.settle();
    marked.cluster.change(name, ({ metadata, spec, status }) => {
      metadata.labels = { ...metadata.labels, [trustedLabel]: 'true', theirs: 'x' };
      spec.taints = [{ key: 'theirs', effect: 'NoExecute' }];
      status.conditions = [{ type: trustedCondition, status: 'True', reason: 'Trusted' }];
    });
    await reconciled(marked);
    assert.equal(marked.cluster.labelOf(name, trustedLabel), undefined);
    assert.equal(marked.cluster.labelOf(name, 'theirs'), 'x');
    assert.deepEqual(marked.cluster.taintsOf(name), [
      'theirs:NoExecute',
      'assay.dev/untrusted=counter_rollback:NoSchedule',
    ]);
    assert.equal(marked.cluster.conditionOf(name, trustedCondition)?.status, 'False');
    assert.deepEqual(
      marked.told.filter((one) => one.startsWith('tampered')),
      [`tampered ${name}`],
    );
    await marked.settle();
    assert.equal(marked.cluster.events.at(-1)?.event.reason, 'LabelTamper');
  });

  it('corrects a taint of its own key that somebody gave another effect', async () => {
    const marked = await marking();
    marked.cluster.change(name, ({ spec }) => {
      spec.taints = [{ key: keys.untrusted, effect: 'NoExecute' }];
    });
    await reconciled(marked);
    assert.deepEqual(marked.cluster.taintsOf(name), []);
    assert.ok(marked.told.includes(`tampered ${name}`));
  });

  it('does not fight for ever with somebody who changes the same mark again and again', async () => {
    const marked = await marking();
    for (let i = 0; i < 120; i++) {
      marked.cluster.change(name, ({ metadata }) => {
        metadata.labels = { ...metadata.labels, [trustedLabel]: 'false' };
      });
      await marked.pass(1000);
    }
    const patches = marked.writes().filter((one) => one === `patch ${name}`).length;
    assert.ok(patches < 12, `${patches} patches in two minutes`);
  });

  it('takes the label at once where trust is lost in a fight about the condition (row 65)', async () => {
    const marked = await marking();
    const edit = (i: number) =>
      marked.cluster.change(name, ({ status }) => {
        status.conditions = [{ type: trustedCondition, status: 'True', reason: 'Trusted', message: `${i}` }];
      });
    for (let i = 0; i < 120; i++) {
      edit(i);
      await marked.pass(1000);
    }
    edit(120);
    marked.commit(name, failed);
    await marked.settle();
    assert.equal(marked.cluster.labelOf(name, trustedLabel), undefined);
    assert.deepEqual(marked.cluster.taintsOf(name), ['assay.dev/untrusted=counter_rollback:NoSchedule']);
  });

  it('puts back what takes trust away although the fight goes on (row 65)', async () => {
    const marked = await marking();
    marked.commit(name, failed);
    await marked.settle();
    let most = 0;
    let without = 0;
    for (let i = 0; i < 60; i++) {
      marked.cluster.change(name, ({ spec, status }) => {
        if (i % 10 === 0) spec.taints = [];
        status.conditions = [{ type: trustedCondition, status: 'True', reason: 'Trusted', message: `${i}` }];
      });
      await marked.pass(1000);
      without = marked.cluster.taintsOf(name).length === 0 ? without + 1 : 0;
      most = Math.max(most, without);
    }
    assert.ok(most <= 6, `without its taint for ${most} s`);
  });

  it('takes the label by itself where the object is at its bound, or changes without end (row 65)', async () => {
    for (const reason of ['failed', 'invalid', 'conflict'] as const) {
      const marked = await marking();
      const { patchNode } = marked.cluster;
      marked.cluster.patchNode = (node, operations, subresource) =>
        subresource !== '/status' &&
        operations.some(({ op, path }) =>
          reason === 'conflict' ? path === '/metadata/resourceVersion' : op === 'add',
        )
          ? Promise.reject(new ClusterError(reason, 'request is too large'))
          : patchNode.call(marked.cluster, node, operations, subresource);
      marked.commit(name, failed);
      await marked.settle();
      assert.equal(marked.cluster.labelOf(name, trustedLabel), undefined, reason);
    }
  });

  it('takes away a condition that says trusted where the API does not take another one', async () => {
    for (const reason of ['failed', 'invalid', 'forbidden'] as const) {
      const marked = await marking();
      const { patchNode } = marked.cluster;
      marked.cluster.patchNode = (node, operations, subresource) =>
        subresource === '/status' && operations.some(({ op }) => op === 'replace' || op === 'add')
          ? Promise.reject(new ClusterError(reason, 'it is not taken'))
          : patchNode.call(marked.cluster, node, operations, subresource);
      marked.commit(name, overdue);
      await marked.settle();
      assert.equal(marked.cluster.conditionOf(name, trustedCondition), undefined, reason);
      assert.equal(marked.cluster.labelOf(name, trustedLabel), undefined);
      marked.cluster.patchNode = patchNode;
      await marked.pass(minute);
      assert.equal(marked.cluster.conditionOf(name, trustedCondition)?.status, 'Unknown');
    }
  });

  it('taints a Node that its kubelet writes without end, and keeps what others wrote meanwhile (row 65)', async () => {
    const marked = await marking();
    let writes = 0;
    marked.cluster.before = (request, node) => {
      if (request !== 'patch' || node !== name) return;
      writes += 1;
      marked.cluster.change(name, ({ spec, status }) => {
        status.conditions = [{ type: 'Ready', status: 'True', message: `${writes}` }];
        if (writes === 1) spec.taints = [{ key: 'theirs', effect: 'NoExecute' }];
      });
    };
    marked.commit(name, failed);
    await marked.settle();
    assert.equal(marked.cluster.labelOf(name, trustedLabel), undefined);
    assert.deepEqual(marked.cluster.taintsOf(name), [
      'theirs:NoExecute',
      'assay.dev/untrusted=counter_rollback:NoSchedule',
    ]);
  });

  it('closes nothing for other nodes where all writes of one are refused', async () => {
    const marked = await marking();
    marked.cluster.before = (request, node) => {
      if (node === name && request === 'patch') throw new ClusterError('failed', 'request is too large');
    };
    marked.commit(name, failed);
    await marked.pass(120_000);
    assert.deepEqual(marked.doubts.now(marked.at), []);
    marked.commit('node-2', failed);
    await marked.settle();
    assert.equal(marked.cluster.labelOf('node-2', trustedLabel), undefined);
  });

  it('keeps all that it decides of many values in one step', async () => {
    const marked = await marking({ nodes: 100 });
    let steps = 0;
    const hold = marked.decisions.hold.bind(marked.decisions);
    marked.decisions.hold = (...holds) => {
      steps += 1;
      return hold(...holds);
    };
    for (let i = 1; i <= 100; i++) marked.commit(`node-${i}`, { ...drift, value: `initrd sha256:${i}` });
    await marked.settle();
    assert.equal(marked.tainted().length, 10);
    assert.equal(marked.opened.length, 90);
    assert.ok(steps <= 2, `${steps} steps`);
  });

  it('sees no tampering where a controller restores its startup taint, and does not fight it (row 112)', async () => {
    const marked = await marking({ nodes: 0 });
    marked.cluster.create(name, { createdAt: today });
    await reconciled(marked);
    marked.commit(name, trusted);
    await marked.settle();
    assert.deepEqual(marked.cluster.taintsOf(name), []);
    marked.writes();
    for (let i = 0; i < 60; i++) {
      marked.cluster.change(name, ({ spec }) => {
        spec.taints = [{ key: keys.pending, effect: 'NoSchedule' }];
      });
      await marked.pass(1000);
    }
    assert.equal(
      marked.told.some((one) => one.startsWith('tampered')),
      false,
    );
    assert.ok(marked.told.includes(`restored ${name}`));
    assert.ok(marked.writes().filter((one) => one === `patch ${name}`).length <= 4);
  });

  it('keeps pending while Karpenter has not registered the machine, then removes it (row 112)', async () => {
    const marked = await marking({ nodes: 0 });
    marked.cluster.create(name, {
      createdAt: today,
      taints: [
        { key: 'karpenter.sh/unregistered', effect: 'NoExecute' },
        { key: keys.pending, effect: 'NoSchedule' },
      ],
    });
    marked.commit(name, trusted);
    await marked.settle();
    assert.equal(marked.cluster.taintsOf(name).length, 2);
    marked.cluster.change(name, ({ spec }) => void spec.taints?.shift());
    await reconciled(marked);
    assert.deepEqual(marked.cluster.taintsOf(name), []);
    assert.equal(
      marked.told.some((one) => one.startsWith('tampered')),
      false,
    );
  });

  it('reads the Node again where it changed meanwhile, however often (a storm of conflicts)', async () => {
    const marked = await marking();
    marked.commit(name, failed);
    await marked.settle();
    let storm = 3;
    marked.cluster.before = (request) => {
      if (request !== 'patch' || storm-- <= 0) return;
      // Somebody else is quicker, and the watch is late.
      marked.cluster.isWatching = false;
      marked.cluster.change(name, ({ metadata }) => {
        metadata.labels = { ...metadata.labels, theirs: String(storm) };
      });
      marked.cluster.isWatching = true;
    };
    marked.commit(name, trusted);
    await reconciled(marked);
    assert.deepEqual(marked.cluster.taintsOf(name), []);
    assert.equal(marked.cluster.labelOf(name, 'theirs'), '0');
    assert.equal(
      marked.told.some((one) => one.startsWith('tampered')),
      false,
    );
  });

  it('takes its own writes for no tampering while the watch is behind', async () => {
    const marked = await marking();
    marked.cluster.isWatching = false;
    marked.commit(name, failed);
    await marked.settle();
    reconcileAll(marked);
    await marked.settle();
    marked.commit(name, trusted);
    await marked.settle();
    assert.equal(
      marked.told.some((one) => one.startsWith('tampered')),
      false,
    );
    assert.equal(
      marked.told.some((one) => one.startsWith('error')),
      false,
    );
    assert.deepEqual(marked.cluster.taintsOf(name), []);
  });

  it('stops all writing for as long as the API asks', async () => {
    const marked = await marking();
    let asked = 0;
    marked.cluster.before = () => {
      asked += 1;
      throw new ClusterError('too_many', 'slow down', 90_000);
    };
    marked.commit('node-1', failed);
    await marked.settle();
    marked.commit('node-2', failed);
    const before = asked;
    await marked.pass(80_000);
    assert.equal(asked, before);
    marked.cluster.before = () => {};
    await marked.pass(70_000);
    assert.deepEqual(marked.tainted(), ['node-1', 'node-2']);
  });

  it('asks an API that answers nobody ever more seldom, and marks when it is back', async () => {
    const marked = await marking({ nodes: 50 });
    let asked = 0;
    marked.cluster.before = () => {
      asked += 1;
      throw new ClusterError('unreachable', 'no answer');
    };
    for (let i = 1; i <= 50; i++) marked.commit(`node-${i}`, failed);
    await marked.pass(10 * minute);
    assert.ok(asked < 200, `${asked} requests`);
    marked.cluster.before = () => {};
    await marked.pass(3 * minute);
    assert.equal(marked.tainted().length, 50);
  });

  it('takes a Node that vanishes in mid-mark for gone, and removes its resource', async () => {
    const marked = await marking();
    marked.cluster.before = (request) => {
      if (request === 'patch') marked.cluster.delete(name);
    };
    marked.commit(name, failed);
    await marked.settle();
    await marked.settle();
    assert.equal(marked.cluster.attested.has(name), false);
    assert.equal(
      marked.told.some((one) => one.startsWith('error')),
      false,
    );
  });

  it('asks an API that refuses every mark ever more seldom, and takes a refusal for no doubt of the API', async () => {
    const marked = await marking({ nodes: 100 });
    let asked = 0;
    marked.cluster.before = (request) => {
      if (request !== 'patch') return;
      asked += 1;
      throw new ClusterError('invalid', 'a webhook wants no label to be removed');
    };
    for (let i = 1; i <= 100; i++) marked.commit(`node-${i}`, overdue);
    await marked.pass(10 * minute);
    assert.ok(asked < 1000, `${asked} requests in ten minutes`);
    assert.deepEqual(marked.doubts.now(marked.at), []);
    marked.cluster.before = () => {};
    await marked.pass(3 * minute);
    for (let i = 1; i <= 100; i++) assert.equal(marked.cluster.labelOf(`node-${i}`, trustedLabel), undefined);
  });

  it('marks although the resource is not defined in the cluster', async () => {
    const marked = await marking();
    marked.cluster.before = (request) => {
      if (request === 'apply')
        throw new ClusterError('not_found', 'no such resource: apply manifests/base/crds');
    };
    marked.commit(name, failed);
    await marked.settle();
    assert.deepEqual(marked.tainted(), [name]);
    assert.equal(marked.cluster.events.length, 1);
  });

  it('changes nothing before the list of Nodes is there, and nothing without the lease', async () => {
    const marked = new MarkedCluster();
    opened.push(marked);
    marked.cluster.isSynced = false;
    await marked.pass(5000);
    marked.cluster.isSynced = true;
    marked.isLeader = false;
    await marked.pass(5000);
    assert.deepEqual(marked.writes(), []);
    marked.isLeader = true;
    reconcileAll(marked);
    await marked.settle();
    assert.equal(marked.cluster.labelOf(name, trustedLabel), 'true');
  });

  it('removes resources of Nodes that are gone since before it started', async () => {
    const marked = new MarkedCluster();
    opened.push(marked);
    marked.cluster.attested.set('node-of-old', {});
    await marked.settle();
    assert.deepEqual([...marked.cluster.attested.keys()].sort(), ['node-1', 'node-2', 'node-3']);
  });

  it('refreshes each resource once an hour, and the others of that time not', async () => {
    const marked = await marking();
    await marked.pass(hour + 10 * minute);
    const writes = marked.writes();
    assert.deepEqual([...writes].sort(), ['apply node-1', 'apply node-2', 'apply node-3']);
  });

  it('holds the taints of a fleet that a wrong reference breaks, and a person releases them (row 67)', async () => {
    const marked = await marking({ nodes: 30 });
    for (let i = 1; i <= 30; i++) marked.commit(`node-${i}`, drift);
    await marked.settle();
    assert.equal(marked.tainted().length, 3);
    assert.deepEqual(
      marked.opened.map(({ held }) => held),
      [{ group: 'workers', code: 'kernel_unknown', value: 'kernel sha256:aa' }],
    );
    for (let i = 1; i <= 30; i++) assert.equal(marked.cluster.labelOf(`node-${i}`, trustedLabel), undefined);
    await marked.pass(hour);
    assert.equal(marked.tainted().length, 3);
    const [hold] = marked.decisions.holds();
    assert.ok(hold);
    await marked.decisions.hold({ ...hold, decision: 'released', by: 'token:admin', reason: 'it is real' });
    marked.decisions.changed();
    await marked.settle();
    assert.equal(marked.tainted().length, 30);
  });

  it('holds the taint of a Node that is made anew meanwhile, which is not free (row 11)', async () => {
    const marked = await marking({ nodes: 30 });
    for (let i = 1; i <= 30; i++) marked.commit(`node-${i}`, drift);
    await marked.settle();
    const held = [...marked.statuses.keys()].filter((one) => !marked.tainted().includes(one));
    const [one = ''] = held;
    marked.cluster.delete(one);
    await marked.settle();
    marked.cluster.create(one, { createdAt: today + marked.at + minute });
    await marked.pass(minute);
    assert.deepEqual(marked.cluster.taintsOf(one), ['assay.dev/reproving:NoSchedule']);
  });

  describe('of a Node with a taint of drift that is deleted, and made anew a moment later (row 11)', () => {
    async function tainted(codes: readonly ReasonCode[] = drift.codes) {
      const marked = await marking({ nodes: 30 });
      for (let i = 1; i <= 3; i++)
        marked.commit(`node-${i}`, { ...drift, codes, value: `kernel sha256:a${i}` });
      await marked.settle();
      assert.deepEqual(marked.tainted(), ['node-1', 'node-2', 'node-3']);
      await deleted(marked);
      return marked;
    }
    async function deleted(marked: MarkedCluster) {
      marked.cluster.delete(name);
      await marked.settle();
    }
    async function madeAnew(marked: MarkedCluster) {
      marked.cluster.create(name, { createdAt: today + marked.at + minute });
      await marked.settle();
      return marked.cluster.taintsOf(name);
    }

    it('puts the taint again at once, and takes nobody’s place with it', async () => {
      const marked = await tainted();
      for (let times = 0; times < 5; times++) {
        assert.deepEqual(await madeAnew(marked), drifted);
        await deleted(marked);
      }
      assert.deepEqual(await madeAnew(marked), drifted);
      assert.deepEqual(marked.opened, []);
      await marked.pass(11 * minute);
      marked.commit('node-4', drift);
      await marked.settle();
      assert.deepEqual(marked.cluster.taintsOf('node-4'), []);
      assert.equal(marked.opened.length, 1);
    });

    it('takes a taint for another code for a new one', async () => {
      const marked = await tainted();
      marked.commit(name, { ...drift, codes: ['initrd_unknown'] });
      assert.deepEqual(await madeAnew(marked), ['assay.dev/reproving:NoSchedule']);
    });

    it('takes it for a new one once the node was trusted again, also while it had no Node', async () => {
      const marked = await tainted();
      marked.commit(name, trusted);
      await marked.pass(minute);
      marked.commit(name, drift);
      assert.deepEqual(await madeAnew(marked), ['assay.dev/reproving:NoSchedule']);
    });

    it('takes it for a new one where another machine has the name by now', async () => {
      const marked = await tainted();
      marked.commit(name, drift, { ekDigest: 'ek of another machine' });
      assert.deepEqual(await madeAnew(marked), ['assay.dev/reproving:NoSchedule']);
    });
  });

  it('counts no taint of a Node that never was trusted against the share of drift', async () => {
    const marked = await marking();
    const first = { state: 'pending', codes: ['no_reference'] } as const;
    marked.statuses.set('node-9', madeStatus('node-9', first, { trustedAt: null }));
    marked.cluster.create('node-9', { createdAt: today });
    await marked.settle();
    assert.deepEqual(marked.cluster.taintsOf('node-9'), ['assay.dev/pending:NoSchedule']);
    marked.commit(name, drift);
    await marked.settle();
    assert.deepEqual(marked.cluster.taintsOf(name), drifted);
  });

  it('goes on to hold after a restart what it held before', async () => {
    const marked = await marking({ nodes: 30 });
    for (let i = 1; i <= 30; i++) marked.commit(`node-${i}`, drift);
    await marked.settle();
    const tainted = marked.tainted();
    await marked.pass(20 * minute);
    await marked.restart();
    await marked.pass(20 * minute);
    assert.deepEqual(marked.tainted(), tainted);
    assert.equal(marked.opened.length, 1);
  });

  it('tells a right that is missing, and does what it may', async () => {
    const marked = await marking();
    marked.cluster.before = (request) => {
      if (request === 'patch status') throw new ClusterError('forbidden', 'no right to patch nodes/status');
    };
    marked.commit(name, failed);
    await marked.settle();
    assert.deepEqual(marked.tainted(), [name]);
    assert.ok(marked.told.includes(`error forbidden ${name}`));
    assert.ok(marked.told.includes('failed condition_set'));
    marked.cluster.before = () => {};
    await marked.pass(5000);
    assert.equal(marked.cluster.conditionOf(name, trustedCondition)?.status, 'False');
  });

  it('decides about thousands of nodes that fail at once, in a moment', async function () {
    this.timeout(60_000);
    const marked = await marking({ nodes: 2000 });
    const before = process.cpuUsage();
    for (let i = 1; i <= 2000; i++) marked.commit(`node-${i}`, drift);
    await marked.settle();
    const { user } = process.cpuUsage(before);
    assert.equal(marked.tainted().length, 200);
    assert.ok(user < 10_000_000, `${user / 1e6} s`);
  });

  /** What the earlier rules say of a node that those in force do not trust. */
  const turnedAs = (as: 'trusted' | 'pending', by = 'policy strict@e25b'): NodeStatus['trustedBy'] => ({
    policy: 'a'.repeat(64),
    references: 'b'.repeat(64),
    named: 'strict@333d',
    group: 'workers',
    version: '1.0.0',
    measured: null,
    host: null,
    affirmedBy: [],
    turned: { as, change: 'policy', by, left: [], at: today, isSame: true, shown: null, memory: {} },
  });
  const byUs = { state: 'untrusted', codes: ['cmdline_policy'] } as const;

  it('taints none of a whole fleet that a change of ours turned before a person says so, by one hold (row 376)', async function () {
    this.timeout(120_000);
    const fleet = trials(500);
    const marked = await marking({ nodes: fleet, onExpiry: 'taint' });
    const trustedBy = turnedAs('trusted');
    for (let i = 1; i <= fleet; i++) marked.commit(`node-${i}`, byUs, { trustedBy });
    await marked.settle();
    await marked.pass(40 * minute);
    assert.deepEqual(marked.tainted(), []);
    assert.equal(marked.opened.length, 1);
    assert.deepEqual(marked.opened[0]?.held, {
      group: 'workers',
      code: 'cmdline_policy',
      value: 'policy strict@e25b',
    });
    const labels = [...marked.cluster.stored.keys()].filter(
      (name) => marked.cluster.labelOf(name, trustedLabel) !== undefined,
    );
    assert.deepEqual(labels, [], 'the label goes at once');
    for (const [key, held] of marked.decisions.held)
      marked.decisions.held.set(key, { ...held, decision: 'released', by: 'token:ann', reason: 'meant' });
    marked.decisions.changed();
    await marked.settle();
    assert.equal(marked.tainted().length, fleet);
  });

  it('taints at once whom the earlier rules find wrong, too, and whom nobody ever trusted (row 378)', async () => {
    const marked = await marking({ nodes: 10 });
    marked.commit('node-1', byUs, { trustedBy: turnedAs('trusted') });
    marked.commit('node-2', byUs, { trustedBy: null });
    await marked.settle();
    assert.deepEqual(marked.tainted(), ['node-2']);
    marked.commit('node-1', byUs, { trustedBy: null });
    await marked.settle();
    assert.deepEqual(marked.tainted(), ['node-1', 'node-2']);
  });

  it('leaves a node that booted anew with what the earlier rules ask for (row 379)', async () => {
    const marked = await marking({ nodes: 10 });
    await marked.pass(60_000);
    const bootSeenAt = today + marked.at;
    const trustedBy = turnedAs('pending');
    marked.commit('node-1', byUs, { trustedBy, bootSeenAt });
    // A new boot is not proven yet, whatever changed in between: that waits for nobody.
    marked.commit('node-2', { state: 'pending', codes: ['rebooted'] }, { trustedBy, bootSeenAt });
    await marked.settle();
    for (const name of ['node-1', 'node-2'])
      assert.deepEqual(marked.cluster.taintsOf(name), ['assay.dev/reproving:NoSchedule']);
    assert.deepEqual(marked.tainted(), []);
  });

  it('holds the taint of drift also where a Node is made anew, which carries another one until its proof', async () => {
    const marked = await marking({ nodes: 30 });
    for (let i = 1; i <= 30; i++) marked.commit(`node-${i}`, drift);
    await marked.settle();
    const tainted = marked.tainted();
    assert.equal(tainted.length, 3);
    for (let i = 1; i <= 30; i++) {
      if (tainted.includes(`node-${i}`)) continue;
      marked.cluster.delete(`node-${i}`);
      marked.cluster.create(`node-${i}`, { createdAt: today + marked.at });
    }
    await marked.pass(60_000);
    assert.deepEqual(marked.tainted(), tainted);
    assert.deepEqual(marked.cluster.taintsOf('node-30'), ['assay.dev/reproving:NoSchedule']);
  });

  it('removes taints while the breaker is open', async () => {
    const marked = await marking({ nodes: 30 });
    for (let i = 1; i <= 30; i++) marked.commit(`node-${i}`, drift);
    await marked.settle();
    const [one = ''] = marked.tainted();
    marked.commit(one, trusted);
    await marked.settle();
    assert.deepEqual(marked.cluster.taintsOf(one), []);
  });

  it('tells at once where 21 of 100 nodes fail on purpose (row 101)', async () => {
    const marked = await marking({ nodes: 100 });
    for (let i = 1; i <= 21; i++) marked.commit(`node-${i}`, drift);
    await marked.settle();
    assert.equal(marked.opened.length, 1);
    assert.ok(marked.tainted().length <= 10);
    assert.equal(marked.cluster.labelOf('node-21', trustedLabel), undefined);
  });

  it('keeps to the standing cap in a slow rollout of what nobody staged (row 111)', async () => {
    const marked = await marking({ nodes: 20 });
    for (let i = 1; i <= 20; i++) {
      marked.commit(`node-${i}`, drift);
      await marked.pass(15 * minute);
    }
    assert.equal(marked.tainted().length, 2);
    assert.equal(marked.opened.length, 1);
  });

  it('counts the taints that it finds at a start against its limits', async () => {
    const marked = new MarkedCluster({ nodes: 10 });
    opened.push(marked);
    marked.statuses.set(name, madeStatus(name, drift, { since: today - hour }));
    marked.cluster.change(name, ({ spec }) => {
      spec.taints = [{ key: keys.untrusted, value: 'kernel_unknown', effect: 'NoSchedule' }];
    });
    await marked.settle();
    marked.commit('node-2', { ...drift, value: 'kernel sha256:bb' });
    await marked.settle();
    assert.deepEqual(marked.tainted(), [name]);
  });

  it('gives a node that flaps its marks back when it has kept its trust for five minutes', async () => {
    const marked = await marking();
    for (let i = 0; i < 3; i++) {
      marked.commit(name, failed);
      await marked.pass(5000);
      marked.commit(name, trusted);
      await marked.pass(5000);
    }
    assert.equal(marked.cluster.labelOf(name, trustedLabel), undefined);
    assert.deepEqual(marked.cluster.taintsOf(name), ['assay.dev/untrusted=counter_rollback:NoSchedule']);
    marked.writes();
    await marked.pass(4 * minute);
    assert.deepEqual(marked.writes(), []);
    await marked.pass(2 * minute);
    assert.equal(marked.cluster.labelOf(name, trustedLabel), 'true');
    assert.deepEqual(marked.cluster.taintsOf(name), []);
  });

  it('writes other words for the same state at most once a minute', async () => {
    const marked = await marking();
    for (let i = 0; i < 60; i++) {
      marked.commit(name, { state: 'untrusted', codes: [i % 2 === 0 ? 'counter_rollback' : 'malformed'] });
      await marked.pass(1000);
    }
    assert.ok(marked.writes().filter((one) => one.startsWith('patch')).length <= 6);
  });

  it('writes nothing in observe but the resource, and removes what is ours', async () => {
    const marked = await marking();
    marked.group = { ...marked.group, mode: 'observe' };
    reconcileAll(marked);
    await marked.settle();
    assert.equal(marked.cluster.labelOf(name, trustedLabel), undefined);
    assert.equal(marked.cluster.conditionOf(name, trustedCondition), undefined);
    marked.writes();
    marked.commit(name, failed);
    await marked.settle();
    assert.deepEqual(marked.writes(), [`apply ${name}`]);
  });

  it('puts no taint of drift after a step of the clock, and does after ten minutes', async () => {
    const marked = await marking();
    marked.doubts.look(today + marked.at + hour, marked.at);
    marked.doubts.look(today + marked.at, marked.at);
    marked.commit(name, drift);
    await marked.settle();
    assert.deepEqual(marked.tainted(), []);
    assert.ok(marked.told.includes('suppressed doubt'));
    await marked.pass(11 * minute);
    assert.deepEqual(marked.cluster.taintsOf(name), drifted);
  });
});

function reconcileAll({ reconciler }: MarkedCluster): void {
  reconciler.enqueueAll();
}

/** Within milliseconds, without any time that passes. */
async function reconciled({ reconciler }: MarkedCluster): Promise<void> {
  await reconciler.idle();
}
