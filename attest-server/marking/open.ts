/**
 * The marks of a Node. All pure: what it is to carry (`judged-node`, `marks`), how that is written without
 * touching what is not ours (`patch`), and when taints wait (`breaker`, `doubts`, `steadiness`). `reconciler`
 * judges each Node again after a change (`judgement`), on one server at most (`lease`).
 *
 * Two units make it so: `node-marks` writes the marks of Nodes, `publication` their resources, and Events
 * (`node-events`). They share one back-off towards the API (`api-back-off`) and, for each node, one record of
 * who stands against what we write (`contested-node`). `breaker-holds` keeps what waits for a person;
 * `admission-watch` says where others may change it (`admission-gaps`). See `docs/marks.md`.
 */

import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { protectedThings } from '../formats/marking.ts';
import type { TaintKeys } from '../formats/marks.ts';
import { AdmissionWatch, type AdmissionWatchParts } from './admission-watch.ts';
import { Breaker } from './breaker.ts';
import { type Control, type ControlParts, createControl } from './control.ts';
import { loadDecisions } from './decisions.ts';
import { Doubts } from './doubts.ts';
import { figuresOf, type MarkingFigures } from './figures.ts';
import type { MarkedGroup } from './judged-node.ts';
import { createLatchKeeper, type LatchKeeperParts } from './latch-keeper.ts';
import { Lease, renewEvery } from './lease.ts';
import { addressEvent } from './node-events.ts';
import type {
  Clock,
  ClusterNode,
  ClusterNodes,
  ClusterWriter,
  CommittedVerdicts,
  MarkingStore,
} from './ports.ts';
import { Reconciler } from './reconciler.ts';
import type { MarkingReport } from './report.ts';

export interface MarkingConfig {
  readonly keys: TaintKeys;
  /** The Node that this server runs on, which is never touched; null: not known. */
  readonly ownNode: string | null;
  /** Outcome for taints that wait for a person who does not come. */
  readonly onExpiry: 'hold' | 'taint';
}

export interface MarkingParts extends Pick<Clock, 'now' | 'monotonic'> {
  readonly nodes: ClusterNodes;
  readonly writer: ClusterWriter;
  readonly admission: AdmissionWatchParts['admission'];
  /** Whether the server is on trial: then it says so on each Node, and leaves a cluster with the latch alone. */
  readonly trial: boolean;
  readonly committed: CommittedVerdicts;
  readonly store: MarkingStore;
  readonly inForce: {
    readonly groups: ControlParts['groups'];
    current(): {
      groupOf(node: string, labels: ClusterNode['labels']): { readonly group: MarkedGroup };
    };
    readonly latch: LatchKeeperParts['withPolicy'];
  };
  /** Of each room that knows some: what is wrong with the API of the cluster at present, a sentence each. */
  readonly faults: readonly ControlParts['clusterFaults'][];
  /** Milliseconds since this version first ran on this store; null: no other one did before. */
  readonly upgradedFor: number | null;
  readonly report: MarkingReport &
    AdmissionWatchParts['report'] &
    LatchKeeperParts['report'] & {
      /** Who marks from now on; null: nobody that is known. */
      leaseMoved(isOurs: boolean, holder: string | null): void;
    };
}

/** Marks the Nodes of the cluster. */
export interface Marking extends AsyncDisposable {
  readonly control: Control;
  figures(): MarkingFigures;
  /** Something of this node is another: its record, or its group. */
  wake(node: string): void;
  /** The node of this name is no longer enrolled. */
  revoked(node: string): void;
  /** Other rules are in force. */
  rulesChanged(): void;
  /** The key of its disk went to an address to which none of its keys went before. */
  keyToNewAddress(node: string, address: string): void;
}

/** Milliseconds between two looks at what is due and at the latch, and between two renewals of the lease. */
export interface MarkingTimings {
  readonly resyncEvery: number;
  readonly renewEvery: number;
  readonly latchEvery: number;
}
const usualTimings: MarkingTimings = { resyncEvery: 1000, renewEvery, latchEvery: 60_000 };

/** @throws Error if what people decided cannot be read */
export async function openMarking(
  config: MarkingConfig,
  parts: MarkingParts,
  timings: MarkingTimings = usualTimings,
): Promise<Marking> {
  const { nodes, writer, trial, committed, store, inForce, faults, now, monotonic, report } = parts;
  const { keys, ownNode } = config;
  const decisions = await loadDecisions({ store, now });
  const keeper = createLatchKeeper({ decisions, writer, trial, withPolicy: inForce.latch, report });
  const breaker = new Breaker({ onExpiry: config.onExpiry });
  const doubts = new Doubts(parts.upgradedFor, monotonic());
  const lease = new Lease({
    writer,
    holder: `${hostname().slice(0, 200)}_${randomUUID().slice(0, 8)}`,
    now,
    monotonic,
    renewEvery: timings.renewEvery,
    changed(isHeld, holder) {
      report.leaseMoved(isHeld, holder);
      if (isHeld) reconciler.tookOver();
    },
    failed: (error) => report.failed(error, null),
  });
  const reconciler = new Reconciler({
    nodes,
    writer,
    committed,
    decisions,
    groupOf(node, labels): MarkedGroup {
      const { group } = inForce.current().groupOf(node, labels);
      return trial ? { ...group, trial } : group;
    },
    isLeader: () => lease.isHeld(),
    breaker,
    doubts,
    keys,
    ownNode,
    now,
    monotonic,
    random: Math.random,
    report,
  });
  const admission = new AdmissionWatch({
    admission: parts.admission,
    atStake() {
      if (!lease.isHeld()) return [];
      if (decisions.latch() !== null) return protectedThings;
      const isMarked = inForce.groups.all().some(({ mode }) => mode !== 'observe');
      return isMarked ? ['marks', 'attestations'] : [];
    },
    monotonic,
    report,
  });
  committed.onRecorded(({ node }) => reconciler.queue.add(node));
  nodes.onChange((name) => reconciler.queue.add(name));
  decisions.onChange((node) => (node === null ? reconciler.decisionsChanged() : reconciler.queue.add(node)));

  const failed = (error: unknown) => report.fault(error, 'marking');
  const renew = () => (keeper.mayMark() ? lease.renew() : lease.release());
  // On trial nothing is marked before the cluster has said that it has no latch.
  const look = () => (trial ? keeper.look().then(renew) : Promise.all([lease.renew(), keeper.look()]));
  const timers = [
    setInterval(() => {
      lease.reportChange();
      if (lease.isDue()) renew().catch(failed);
      reconciler.resync();
      decisions.endDue().catch(failed);
      admission.turn().catch(failed);
    }, timings.resyncEvery),
    setInterval(() => void keeper.look().catch(failed), timings.latchEvery),
  ];
  const begun = look().catch(failed);
  const holder = () => {
    const name = lease.holder();
    return name === null ? null : { holder: name, isOurs: lease.isHeld() };
  };
  return {
    control: createControl({
      decisions,
      keeper,
      nodes,
      writer,
      keys,
      marking: {
        failing: () => breaker.failing(monotonic()),
        lease: holder,
        shown: (node) => reconciler.shown(node),
      },
      groups: inForce.groups,
      clusterFaults: () => [
        ...(keeper.mayMark() ? [] : [latchedOnTrial]),
        ...faults.flatMap((its) => its()),
        ...admission.faults(),
        ...reconciler.publication.faults(),
      ],
      committed,
      ownNode,
      now,
    }),
    figures: () => ({
      ...figuresOf(reconciler, breaker, doubts.now(monotonic()), lease.isHeld(), monotonic()),
      gaps: admission.gaps,
    }),
    wake: (node) => reconciler.queue.add(node),
    revoked(node) {
      // Another machine may come under that name: nobody exempted it.
      decisions.endExemption(node, 'server', 'its enrolment was revoked').catch(failed);
      reconciler.queue.add(node);
    },
    rulesChanged: () => reconciler.enqueueAll(),
    keyToNewAddress: (node, address) => reconciler.note(node, addressEvent(address)),
    async [Symbol.asyncDispose]() {
      for (const timer of timers) clearInterval(timer);
      admission[Symbol.dispose]();
      await begun;
      await reconciler.close();
      await lease.release();
    },
  };
}

const latchedOnTrial =
  'this server is on trial, and trust is enabled for good in this cluster, or the cluster does not say: it writes nothing on any Node';
