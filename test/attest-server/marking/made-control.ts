import type { NodeStatus } from '../../../attest-server/attest/ports.ts';
import { defaultTaintKeys } from '../../../attest-server/formats/marks.ts';
import { createNodeGroups } from '../../../attest-server/in-force/node-groups.ts';
import type { FailingAlike } from '../../../attest-server/marking/breaker.ts';
import { type Control, type ControlParts, createControl } from '../../../attest-server/marking/control.ts';
import { type KeptDecisions, loadDecisions } from '../../../attest-server/marking/decisions.ts';
import { createLatchKeeper } from '../../../attest-server/marking/latch-keeper.ts';
import type { PolicyGroup } from '../../../attest-server/policy/policy.ts';
import { strictPolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { openMadeStore } from '../store/made-store.ts';
import { MadeCluster } from './made-cluster.ts';

/** What people decide about a made cluster, over a real store. */
export interface MadeControl extends AsyncDisposable {
  readonly control: Control;
  readonly decisions: KeptDecisions;
  readonly cluster: MadeCluster;
  readonly store: Store;
  readonly statuses: Map<string, NodeStatus>;
  groups: readonly PolicyGroup[];
  failing: readonly FailingAlike[];
  isLeader: boolean;
  faults: readonly string[];
  /** Of which Nodes marks are known. */
  readonly marks: Map<string, Looked>;
  actions(): Promise<readonly string[]>;
}

type Looked = NonNullable<ReturnType<ControlParts['marking']['shown']>>;

export async function madeControl(now: () => number): Promise<MadeControl> {
  const store = await openMadeStore(':memory:');
  const decisions = await loadDecisions({ store: store.marking, now });
  const cluster = new MadeCluster();
  const keeper = createLatchKeeper({
    decisions,
    trial: false,
    writer: cluster.writer,
    withPolicy: (work) => work(),
    report: { latchRestored() {}, latchUnkept() {} },
  });
  const statuses = new Map<string, NodeStatus>();
  const policy = () => ({ ...strictPolicy, groups: made.groups });
  const made: MadeControl = {
    control: createControl({
      decisions,
      keeper,
      nodes: cluster.nodes,
      writer: cluster.writer,
      keys: defaultTaintKeys,
      marking: {
        failing: () => made.failing,
        lease: () => ({ holder: 'server-1', isOurs: made.isLeader }),
        shown: (node) => made.marks.get(node) ?? null,
      },
      groups: createNodeGroups(policy, () => ({})),
      clusterFaults: () => made.faults,
      committed: { status: (node) => statuses.get(node) ?? null },
      ownNode: null,
      now,
    }),
    decisions,
    cluster,
    store,
    statuses,
    groups: strictPolicy.groups,
    failing: [],
    isLeader: true,
    faults: [],
    marks: new Map(),
    actions: async () =>
      (await store.audit.entries({ limit: 100 })).map(({ actor, action }) => `${actor} ${action}`),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
  return made;
}
