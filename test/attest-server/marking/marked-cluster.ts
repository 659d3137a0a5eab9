import type { NodeStatus } from '../../../attest-server/attest/ports.ts';
import { Breaker, type HeldKey } from '../../../attest-server/marking/breaker.ts';
import { Doubts } from '../../../attest-server/marking/doubts.ts';
import type { MarkedGroup } from '../../../attest-server/marking/judged-node.ts';
import { Reconciler, type ReconcilerParts } from '../../../attest-server/marking/reconciler.ts';
import type { MarkingReport } from '../../../attest-server/marking/report.ts';
import {
  keys,
  MadeDecisions,
  type MadeVerdict,
  madeGroup,
  madeStatus,
  madeVerdict,
  today,
} from './made-marking.ts';
import { ModelCluster } from './model-cluster.ts';

export interface MarkedOptions {
  readonly nodes?: number;
  readonly group?: Partial<MarkedGroup>;
  readonly onExpiry?: 'hold' | 'taint';
  readonly parts?: Partial<ReconcilerParts>;
}

/** The reconciler at a model of a cluster, with a clock that stands until it is moved. */
export class MarkedCluster {
  readonly cluster = new ModelCluster();
  readonly decisions = new MadeDecisions();
  readonly statuses = new Map<string, NodeStatus>();
  breaker: Breaker;
  doubts = new Doubts(null, 0);
  reconciler: Reconciler;
  readonly #parts: Partial<ReconcilerParts>;
  readonly #report: MarkingReport;
  readonly told: string[] = [];
  readonly opened: { readonly held: HeldKey; readonly nodes: number }[] = [];
  readonly faults: unknown[] = [];
  group: MarkedGroup;
  isLeader = true;
  /** Milliseconds of both clocks since the begin. */
  at = 0;

  constructor({ nodes = 3, group = {}, onExpiry = 'hold', parts = {} }: MarkedOptions = {}) {
    this.group = madeGroup(group);
    this.breaker = new Breaker({ onExpiry });
    const report: MarkingReport = {
      acted: (action, isDone) => void this.told.push(`${isDone ? 'done' : 'failed'} ${action}`),
      suppressed: (reason) => void this.told.push(`suppressed ${reason}`),
      reconciled: () => {},
      failed: ({ reason }, node) => void this.told.push(`error ${reason} ${node}`),
      tampered: (node) => void this.told.push(`tampered ${node}`),
      startupTaintRestored: (node) => void this.told.push(`restored ${node}`),
      opened: (held, count) => void this.opened.push({ held, nodes: count }),
      doubted: (doubt) => void this.told.push(`doubted ${doubt}`),
      fault: (error) => void this.faults.push(error),
    };
    this.#parts = parts;
    this.#report = report;
    this.reconciler = this.#open();
    this.cluster.onChange((name) => this.reconciler.queue.add(name));
    this.decisions.onChange(() => this.reconciler.decisionsChanged());
    for (let i = 1; i <= nodes; i++) this.join(`node-${i}`);
  }

  #open(): Reconciler {
    return new Reconciler({
      nodes: this.cluster,
      writer: this.cluster,
      committed: { status: (name) => this.statuses.get(name) ?? null },
      decisions: this.decisions,
      groupOf: () => this.group,
      isLeader: () => this.isLeader,
      breaker: this.breaker,
      doubts: this.doubts,
      keys,
      ownNode: null,
      now: () => today + this.at,
      monotonic: () => this.at,
      random: () => 0.5,
      report: this.#report,
      ...this.#parts,
    });
  }

  /** Another process takes over: of this one nothing is left but what is stored. */
  async restart(): Promise<void> {
    await this.reconciler.close();
    this.breaker = new Breaker({ onExpiry: 'hold' });
    this.doubts = new Doubts(null, this.at);
    this.reconciler = this.#open();
    await this.settle();
  }

  /** A Node that is trusted, and has the marks of that. */
  join(name: string): void {
    this.statuses.set(name, madeStatus(name, { state: 'trusted' }));
    this.cluster.create(name);
  }

  /** A verdict is committed. */
  commit(name: string, verdict: MadeVerdict, given: Partial<NodeStatus> = {}): void {
    const before = this.statuses.get(name);
    const at = today + this.at;
    this.statuses.set(name, {
      ...(before ?? madeStatus(name, null)),
      state: verdict.state,
      verdict: madeVerdict(verdict),
      trustedAt: before?.state === 'trusted' ? before.verifiedAt : (before?.trustedAt ?? null),
      verifiedAt: at,
      expiresAt: at + 24 * 3_600_000,
      since: before?.state === verdict.state ? before.since : at,
      ...given,
    });
    this.reconciler.queue.add(name);
  }

  /** Some time passes, second by second where work is due. */
  async pass(ms: number): Promise<void> {
    const end = this.at + ms;
    while (this.at < end) {
      this.at = Math.min(end, this.at + Math.max(1000, ms / 600));
      await this.settle();
    }
  }

  /** What is to be done now is done. */
  async settle(): Promise<void> {
    for (let i = 0; i < 3; i++) {
      this.reconciler.resync();
      await this.reconciler.idle();
    }
  }

  tainted(): readonly string[] {
    return [...this.cluster.stored.keys()].filter((name) =>
      this.cluster.taintsOf(name).some((taint) => taint.startsWith(keys.untrusted)),
    );
  }

  /** What was written since this was last asked. */
  writes(): readonly string[] {
    return this.cluster.writes.splice(0);
  }
}
