import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, it } from 'mocha';
import type { NodeStatus } from '../../../attest-server/attest/ports.ts';
import { trustedLabel } from '../../../attest-server/formats/marks.ts';
import { type Marking, openMarking } from '../../../attest-server/marking/open.ts';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { isObject } from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator, kubelet } from '../../../swtpm-fixtures/api-server/users.ts';
import { namespaceOfServer } from '../kubernetes/namespace-of-server.ts';
import { type Opened, opened } from '../kubernetes/opened.ts';
import { openMadeStore } from '../store/made-store.ts';
import { keys, type MadeVerdict, madeGroup, madeStatus, madeVerdict, today } from './made-marking.ts';

const minute = 60_000;
const trusted = { state: 'trusted' } as const;
const drift = { state: 'untrusted', codes: ['kernel_unknown'], value: 'kernel sha256:aa' } as const;
const failed = { state: 'untrusted', codes: ['counter_rollback'] } as const;

/** The rooms of cluster and marks at a real API over HTTPS, with a clock that is moved by hand: hours take a moment. */
describe('marks in a cluster, over hours', () => {
  let api: ApiServer;
  let cluster: Opened;
  let marking: Marking;
  let resources: AsyncDisposableStack;
  let at = 0;
  const statuses = new Map<string, NodeStatus>();
  let recorded: (name: string) => void = () => {};
  const told: string[] = [];

  beforeEach(async () => {
    at = 0;
    statuses.clear();
    told.length = 0;
    resources = new AsyncDisposableStack();
    api = resources.use(await openApiServer({ rbac: false }));
    // Nodes are older than what is judged here.
    api.setClockSkew(today - 24 * 60 * minute - Date.now());
    await api.as(administrator).request('POST', '/api/v1/namespaces', namespaceOfServer);
    // A write that failed is tried again by the clock, which nobody moves meanwhile: a busy machine answers late.
    cluster = resources.use(await opened(api, {}, { requestWithin: 30_000 }));
    const store = resources.use(await openMadeStore(':memory:'));
    const { nodes, writer, admission } = cluster.kubernetes;
    marking = resources.use(
      await openMarking(
        { keys, ownNode: null, onExpiry: 'hold' },
        {
          nodes,
          writer,
          admission,
          trial: false,
          committed: {
            status: (name) => statuses.get(name) ?? null,
            statuses: () => [...statuses.values()],
            onRecorded(listener) {
              recorded = (name) => {
                const status = statuses.get(name);
                if (status?.verdict == null) return;
                const entry = { node: name, at: today + at, verdict: status.verdict, evidenceDigest: null };
                listener({ ...entry, transition: true, repeats: 0, since: today + at }, null);
              };
            },
          },
          store: store.marking,
          inForce: {
            groups: {
              all: () => [madeGroup()],
              of: () => madeGroup(),
              isLatched: () => false,
              notLatchable: () => [],
            },
            current: () => ({ groupOf: () => ({ group: madeGroup() }) }),
            latch: (store) => store(),
          },
          faults: [],
          upgradedFor: null,
          now: () => today + at,
          monotonic: () => at,
          report: {
            acted: () => {},
            suppressed: () => {},
            reconciled: () => {},
            failed: ({ message }) => void told.push(message),
            tampered: (node) => void told.push(`tampered ${node}`),
            startupTaintRestored: (node) => void told.push(`restored ${node}`),
            doubted: () => {},
            opened: ({ code }) => void told.push(`opened ${code}`),
            leaseMoved: () => {},
            latchRestored: () => {},
            latchUnkept: () => {},
            unprotected: () => {},
            fault(error) {
              throw error;
            },
          },
        },
        { resyncEvery: 10, renewEvery: 25, latchEvery: minute },
      ),
    );
    await until(() => nodes.synced() && marking.figures().isLeader);
  });
  afterEach(() => resources.disposeAsync());

  async function until(found: () => boolean): Promise<void> {
    for (const end = performance.now() + 60_000; !found(); await sleep(5))
      assert.ok(performance.now() < end, `not in time: ${found}, ${told.slice(-5).join()}`);
  }
  async function join(count: number): Promise<void> {
    for (let i = 1; i <= count; i++) {
      const name = `node-${i}`;
      statuses.set(name, madeStatus(name, trusted, { verifiedAt: today + at, since: today + at }));
      await api.createNode(name);
    }
    await until(() => [...statuses.keys()].every((name) => labelOf(name) === 'true'));
  }
  function commit(name: string, verdict: MadeVerdict): void {
    const before = statuses.get(name) ?? madeStatus(name, null);
    const now = today + at;
    const { state } = verdict;
    statuses.set(name, {
      ...before,
      ...{ state, verdict: madeVerdict(verdict), verifiedAt: now, since: now, trustedAt: before.verifiedAt },
      expiresAt: now + 48 * 60 * minute,
    });
    recorded(name);
  }
  /** The clock is moved, and the lease is ours again after it. */
  async function pass(ms: number): Promise<void> {
    at += ms;
    await until(() => marking.figures().isLeader);
    await until(() => marking.figures().queue === 0);
  }
  const objectOf = (name: string) => api.store.get('/nodes', name)?.object ?? assert.fail(name);
  const labelOf = (name: string) => objectOf(name).metadata.labels?.[trustedLabel] ?? null;
  const taintsOf = (name: string): readonly string[] => {
    const { spec } = objectOf(name);
    const taints = isObject(spec) && Array.isArray(spec.taints) ? spec.taints.filter(isObject) : [];
    return taints.map(({ key }) => String(key));
  };
  const tainted = () => [...statuses.keys()].filter((name) => taintsOf(name).includes(keys.untrusted));

  it('come back where a kubelet deletes its Node and makes it anew (row 11)', async () => {
    await join(1);
    commit('node-1', failed);
    await until(() => taintsOf('node-1').includes(keys.untrusted));
    const itself = api.as(kubelet('node-1'));
    assert.equal((await itself.request('DELETE', '/api/v1/nodes/node-1')).code, 200);
    const made = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1' } };
    assert.equal((await itself.request('POST', '/api/v1/nodes', made)).code, 201);
    await until(() => taintsOf('node-1').includes(keys.untrusted));
    assert.equal(told.includes('tampered node-1'), false);
  });

  it('wait for a person where 21 of 100 nodes fail on purpose (row 101)', async () => {
    await join(100);
    for (let i = 1; i <= 21; i++) commit(`node-${i}`, drift);
    await until(() => told.includes('opened kernel_unknown'));
    await until(() =>
      Array.from({ length: 21 }, (_, i) => labelOf(`node-${i + 1}`)).every((is) => is === null),
    );
    for (let i = 0; i < 4; i++) await pass(15 * minute);
    assert.ok(tainted().length <= 10, `${tainted().length} tainted`);
    const person = { by: 'token:admin', reason: 'it is an attack' };
    await marking.control.decide('released', { groups: [], code: null }, person);
    await until(() => tainted().length === 21);
  });

  it('keep to a tenth where a kernel that nobody staged goes through slowly (row 111)', async () => {
    await join(20);
    for (let i = 1; i <= 20; i++) {
      commit(`node-${i}`, drift);
      await until(() => labelOf(`node-${i}`) === null);
      await pass(15 * minute);
    }
    assert.equal(tainted().length, 2);
    assert.deepEqual(
      told.filter((one) => one.startsWith('opened')),
      ['opened kernel_unknown'],
    );
  });

  it('heal with no hand on any node once the reference of such a kernel is in force', async () => {
    await join(20);
    // One each quarter of an hour: half of the fleet has it when somebody vouches for it.
    for (let i = 1; i <= 10; i++) {
      commit(`node-${i}`, drift);
      await until(() => labelOf(`node-${i}`) === null);
      await pass(15 * minute);
    }
    assert.equal(tainted().length, 2);
    for (let i = 1; i <= 10; i++) commit(`node-${i}`, trusted);
    await until(() => tainted().length === 0);
    await until(() => [...statuses.keys()].every((name) => labelOf(name) === 'true'));
    // The rest follows, and nobody notices.
    for (let i = 11; i <= 20; i++) {
      commit(`node-${i}`, trusted);
      await pass(15 * minute);
    }
    assert.deepEqual(tainted(), []);
    assert.ok([...statuses.keys()].every((name) => labelOf(name) === 'true'));
    const { waiting, open, wrong } = marking.figures();
    assert.deepEqual([waiting.size, open.size, wrong], [0, 0, 0]);
  });

  it('are not fought for with a controller that restores its startup taint (row 112)', async () => {
    const kube = api.as(administrator);
    const put = async (taints: readonly object[]) => {
      const patch = JSON.parse(JSON.stringify({ spec: { taints } }));
      const { code, text } = await kube.request(
        'PATCH',
        '/api/v1/nodes/node-1',
        patch,
        'application/merge-patch+json',
      );
      assert.equal(code, 200, text);
    };
    const pending = { key: keys.pending, effect: 'NoSchedule' };
    await api.createNode('node-1', { taints: [{ key: 'karpenter.sh/unregistered', effect: 'NoExecute' }] });
    await until(() => taintsOf('node-1').includes(keys.pending));
    statuses.set('node-1', madeStatus('node-1', trusted));
    recorded('node-1');
    await until(() => labelOf('node-1') === 'true');
    assert.ok(taintsOf('node-1').includes(keys.pending));
    await put([pending]);
    await until(() => taintsOf('node-1').length === 0);
    for (let i = 0; i < 5; i++) {
      await put([pending]);
      await until(() => told.filter((one) => one === 'restored node-1').length > i);
      await pass(5 * minute);
      await until(() => taintsOf('node-1').length === 0);
    }
    assert.deepEqual(
      told.filter((one) => one.startsWith('tampered')),
      [],
    );
  });

  it('last until the verdicts end where none can be stored, and no longer (row 68)', async () => {
    await join(3);
    for (const [name, status] of statuses) statuses.set(name, { ...status, expiresAt: today + 3 * minute });
    for (const name of statuses.keys()) recorded(name);
    await pass(2 * minute);
    assert.equal(labelOf('node-1'), 'true');
    await pass(2 * minute);
    await until(() => [...statuses.keys()].every((name) => labelOf(name) === null));
    assert.deepEqual(tainted(), []);
  });
});
