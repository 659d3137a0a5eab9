import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'mocha';
import { ClusterError } from '../../../attest-server/marking/ports.ts';
import { hour } from './made-marking.ts';
import { MarkedCluster, type MarkedOptions } from './marked-cluster.ts';

const second = 1000;
const minute = 60 * second;
const name = 'node-1';
const overdue = { state: 'unknown', codes: ['evidence_overdue'] } as const;
const failed = { state: 'untrusted', codes: ['counter_rollback'] } as const;
/** The API's answers to a mistake of a client: it does not fit the schema, or it is a 500 without a reason. */
const refusals = ['invalid', 'failed', 'forbidden', 'conflict'] as const;

describe('what is published of nodes', () => {
  let opened: MarkedCluster[] = [];
  afterEach(async () => {
    for (const marked of opened) assert.deepEqual(marked.faults, []);
    await Promise.all(opened.map(({ reconciler }) => reconciler.close()));
    opened = [];
  });
  async function marking(options: MarkedOptions = {}): Promise<MarkedCluster> {
    const marked = new MarkedCluster(options);
    opened.push(marked);
    await marked.settle();
    marked.writes();
    return marked;
  }
  const stateOf = ({ cluster }: MarkedCluster, node: string) => cluster.attested.get(node)?.state;
  /** Requests of resources that the API was asked for, from now on. */
  function counted(marked: MarkedCluster, answer: (request: string, node: string) => void) {
    const asked: string[] = [];
    marked.cluster.before = (request, node) => {
      if (request === 'apply' || request === 'delete') asked.push(`${request} ${node}`);
      answer(request, node);
    };
    return asked;
  }

  for (const reason of refusals)
    it(`goes on for all others where one resource is refused as ${reason}, and asks seldom for that one`, async () => {
      const marked = await marking();
      const asked = counted(marked, (request, node) => {
        if (node === name && (request === 'apply' || request === 'delete'))
          throw new ClusterError(reason, 'it is not taken');
      });
      marked.commit(name, overdue);
      marked.commit('node-2', overdue);
      await marked.settle();
      assert.equal(stateOf(marked, 'node-2'), 'unknown');
      await marked.pass(10 * minute);
      const its = asked.filter((one) => one.endsWith(name));
      assert.ok(its.length > 5 && its.length < 60, `${its.length} requests in ten minutes`);
      marked.commit('node-3', overdue);
      await marked.settle();
      assert.equal(stateOf(marked, 'node-3'), 'unknown');
      // It is what a reader still sees, and so it is told.
      assert.equal(stateOf(marked, name), 'trusted');
      assert.deepEqual([...marked.reconciler.publication.countWrong()], [['old', 1]]);
      assert.equal(marked.reconciler.shown(name)?.resource?.fault?.reason, reason);
      assert.equal(marked.reconciler.publication.faults().length, 1);
      marked.cluster.before = () => {};
      await marked.pass(2 * minute);
      assert.equal(stateOf(marked, name), 'unknown');
      assert.deepEqual(marked.reconciler.publication.faults(), []);
    });

  it('loads no API that refuses every resource, and holds back no taint for that', async () => {
    const marked = await marking({ nodes: 500 });
    const asked = counted(marked, (request) => {
      if (request === 'apply' || request === 'delete') throw new ClusterError('failed', 'it is not taken');
    });
    for (let i = 1; i <= 500; i++) marked.commit(`node-${i}`, i === 1 ? failed : overdue);
    await marked.pass(10 * minute);
    assert.ok(asked.length < 400, `${asked.length} requests in ten minutes`);
    assert.deepEqual(marked.tainted(), [name]);
    assert.deepEqual(marked.doubts.now(marked.at), []);
    assert.equal(marked.reconciler.publication.countWrong().get('old'), 500);
  });

  it('reduces all of a fleet within a moment where no resource is taken as a whole, and then rests', async () => {
    const marked = await marking({ nodes: 300 });
    const { applyAttestation } = marked.cluster;
    let asked = 0;
    marked.cluster.applyAttestation = (node, status) => {
      asked += 1;
      return 'marks' in status
        ? Promise.reject(new ClusterError('failed', 'field not declared in schema'))
        : applyAttestation.call(marked.cluster, node, status);
    };
    for (let i = 1; i <= 300; i++) marked.commit(`node-${i}`, overdue);
    await marked.pass(5 * minute);
    for (let i = 1; i <= 300; i++) assert.equal(stateOf(marked, `node-${i}`), 'unknown');
    assert.equal(marked.reconciler.publication.countWrong().get('least'), 300);
    const before = asked;
    await marked.pass(30 * minute);
    assert.ok(asked - before <= 1000, `${asked - before} requests in half an hour`);
  });

  it('writes what came while it was writing', async () => {
    const marked = await marking();
    const { applyAttestation } = marked.cluster;
    marked.cluster.applyAttestation = async (node, status) => {
      if (node.name === name && status.state === 'untrusted') marked.commit(name, overdue);
      // The verdict is looked at before the answer comes.
      await new Promise(setImmediate);
      await applyAttestation.call(marked.cluster, node, status);
    };
    marked.commit(name, failed);
    await marked.settle();
    assert.equal(stateOf(marked, name), 'unknown');
  });

  it('asks for the removal of what is there alone when it has the lease again', async () => {
    const marked = await marking();
    marked.isLeader = false;
    marked.join('node-4');
    await marked.settle();
    for (const node of [name, 'node-4']) marked.cluster.delete(node);
    await marked.settle();
    const asked = counted(marked, () => {});
    marked.isLeader = true;
    marked.reconciler.tookOver();
    await marked.settle();
    assert.deepEqual(asked, [`delete ${name}`]);
    assert.equal(stateOf(marked, name), undefined);
  });

  it('looks anew what is there when it has the lease again: another server may have written', async () => {
    const marked = await marking();
    const green = marked.cluster.attested.get(name) ?? assert.fail();
    marked.isLeader = false;
    marked.commit(name, overdue);
    await marked.settle();
    marked.isLeader = true;
    await marked.settle();
    assert.equal(stateOf(marked, name), 'unknown');
    marked.isLeader = false;
    marked.cluster.attested.set(name, green);
    marked.isLeader = true;
    marked.reconciler.tookOver();
    await marked.settle();
    assert.equal(stateOf(marked, name), 'unknown');
  });

  it('does not take a list for newer than what was written while it was under way', async () => {
    const marked = await marking();
    const listed = Promise.withResolvers<void>();
    const { attestations } = marked.cluster;
    marked.cluster.attestations = async () => {
      const found = await attestations.call(marked.cluster);
      await listed.promise;
      return found;
    };
    // Three lists fail, and so resources are written without one.
    let lists = 0;
    marked.cluster.before = (request) => {
      if (request === 'list' && lists++ < 3) throw new ClusterError('failed', 'no list');
    };
    marked.reconciler.tookOver();
    for (let i = 0; i < 20; i++) {
      marked.at += second;
      marked.reconciler.resync();
      await new Promise(setImmediate);
    }
    marked.commit(name, overdue);
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    assert.equal(stateOf(marked, name), 'unknown');
    listed.resolve();
    marked.commit(name, { state: 'trusted' });
    await marked.settle();
    assert.equal(stateOf(marked, name), 'trusted');
    marked.commit(name, overdue);
    await marked.settle();
    assert.equal(stateOf(marked, name), 'unknown');
  });

  it('removes the resource of a Node that went while nothing could be written', async () => {
    const marked = await marking();
    marked.cluster.before = () => {
      throw new ClusterError('unreachable', 'no answer');
    };
    marked.cluster.delete(name);
    await marked.pass(3 * minute);
    assert.equal(stateOf(marked, name), 'trusted');
    assert.deepEqual([...marked.reconciler.publication.countWrong()], [['old', 1]]);
    marked.cluster.before = () => {};
    await marked.pass(2 * minute);
    assert.equal(stateOf(marked, name), undefined);
    assert.deepEqual([...marked.reconciler.publication.countWrong()], []);
  });

  it('removes the resource of a Node whose first write was done without an answer', async () => {
    const marked = await marking();
    const { applyAttestation } = marked.cluster;
    marked.cluster.applyAttestation = async (node, status) => {
      await applyAttestation.call(marked.cluster, node, status);
      throw new ClusterError('unreachable', 'no answer in time');
    };
    marked.join('node-4');
    await marked.settle();
    assert.equal(stateOf(marked, 'node-4'), 'trusted');
    marked.cluster.delete('node-4');
    marked.cluster.applyAttestation = applyAttestation;
    await marked.pass(2 * minute);
    assert.equal(stateOf(marked, 'node-4'), undefined);
  });

  for (const reason of ['invalid', 'failed', 'forbidden', 'unreachable'] as const)
    it(`tells of a fleet within a minute although no Node can be marked: ${reason}`, async () => {
      const marked = await marking({ nodes: 300 });
      marked.cluster.before = async (request) => {
        // Marks are refused before the first resource is written.
        await new Promise(setImmediate);
        if (request === 'get' || request.startsWith('patch'))
          throw new ClusterError(reason, 'it is not taken');
      };
      for (let i = 1; i <= 300; i++) marked.commit(`node-${i}`, overdue);
      await marked.pass(minute);
      const green = [...marked.cluster.attested.values()].filter(({ state }) => state === 'trusted');
      assert.equal(green.length, 0);
    });

  it('refreshes one whose refresh was refused, and leaves it as it is until then', async () => {
    const marked = await marking();
    await marked.pass(hour);
    const asked = counted(marked, (request, node) => {
      if (node === name && request === 'apply') throw new ClusterError('invalid', 'it is not taken');
    });
    await marked.pass(hour + 30 * minute);
    const its = asked.filter((one) => one.endsWith(name));
    assert.ok(its.length >= 3 && its.length < 10 && !its.includes(`delete ${name}`), its.join());
    assert.equal(stateOf(marked, name), 'trusted');
    assert.deepEqual([...marked.reconciler.publication.countWrong()], [['old', 1]]);
    marked.cluster.before = () => {};
    await marked.pass(11 * minute);
    assert.deepEqual([...marked.reconciler.publication.countWrong()], []);
  });

  it('tells Events although no resource can be written, and resources although no Event can', async () => {
    for (const [refused, reason] of [
      ['apply', 'not_found'],
      ['list', 'forbidden'],
      ['list', 'gone'],
      ['event', 'too_many'],
    ] as const) {
      const marked = new MarkedCluster();
      opened.push(marked);
      marked.cluster.before = (request) => {
        if (request === refused) throw new ClusterError(reason, 'no');
      };
      await marked.pass(20 * second);
      marked.commit(name, failed);
      await marked.pass(second);
      assert.equal(marked.cluster.events.length, refused === 'event' ? 0 : 1, refused);
      assert.equal(stateOf(marked, name), refused === 'apply' ? undefined : 'untrusted', refused);
    }
  });

  it('has marks and resource of each of 5,000 new Nodes within a minute, at the latencies of a real API', async function () {
    this.timeout(60_000);
    const marked = await marking({ nodes: 0 });
    // Milliseconds that kube-apiserver 1.33 took; a resource is made by one request, and gets its status by another.
    const took: Readonly<Record<string, number>> = { patch: 19, 'patch status': 15, apply: 17 + 16 };
    const answers: { readonly at: number; readonly give: () => void }[] = [];
    marked.cluster.before = (request) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      answers.push({ at: marked.at + (took[request] ?? 0), give: resolve });
      return promise;
    };
    const last = { mark: 0, resource: 0 };
    for (let i = 1; i <= 5000; i++) marked.cluster.create(`node-${i}`, { createdAt: 0 });
    for (let ticked = 0; answers.length > 0; ) {
      const next = answers.reduce((a, b) => (b.at < a.at ? b : a));
      answers.splice(answers.indexOf(next), 1);
      marked.at = next.at;
      if (marked.at - ticked >= second) {
        ticked = marked.at;
        marked.reconciler.resync();
      }
      const before = marked.cluster.writes.length;
      next.give();
      await new Promise(setImmediate);
      for (const write of marked.cluster.writes.slice(before))
        last[write.startsWith('apply') ? 'resource' : 'mark'] = marked.at;
    }
    assert.equal(marked.cluster.attested.size, 5000);
    assert.equal(marked.cluster.writes.length, 15_000);
    assert.ok(last.mark < 25 * second, `marks after ${last.mark} ms`);
    assert.ok(last.resource < 60 * second, `resources after ${last.resource} ms`);
  });

  it('loses an Event that is refused, and tells the next one', async () => {
    for (const reason of refusals) {
      const marked = await marking();
      marked.cluster.before = (request) => {
        if (request === 'event') throw new ClusterError(reason, 'no');
      };
      marked.commit(name, failed);
      await marked.settle();
      assert.deepEqual([marked.cluster.events, stateOf(marked, name)], [[], 'untrusted']);
      assert.ok(marked.told.includes('failed event'));
      marked.cluster.before = () => {};
      marked.commit('node-2', failed);
      await marked.settle();
      assert.deepEqual(
        marked.cluster.events.map(({ node }) => node),
        ['node-2'],
      );
    }
  });

  it('says nothing of the resources of a server that does not mark', async () => {
    const marked = await marking();
    marked.isLeader = false;
    marked.commit(name, overdue);
    await marked.settle();
    assert.deepEqual(marked.reconciler.publication.faults(), []);
  });
});
