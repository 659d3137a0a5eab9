import { setTimeout as delay } from 'node:timers/promises';
import type { TaintKeys } from '../formats/marks.ts';
import { isReasonCode } from '../wire/reasons.ts';
import { Rejection } from '../wire/rejection.ts';
import type { Mode, NodeState } from '../wire/verdict.ts';
import type { FailingAlike } from './breaker.ts';
import type { HoldsMeant, KeptDecisions } from './decisions.ts';
import { refusedUnmarking, unite } from './latch.ts';
import type { LatchKeeper } from './latch-keeper.ts';
import type {
  ClusterNodes,
  ClusterWriter,
  CommittedVerdicts,
  Exemption,
  Hold,
  Latch,
  Pause,
} from './ports.ts';
import { type InspectedNode, type ShownMarks, shownMarks } from './shown-marks.ts';
import { type TrialMarks, type TriedVerdict, trialMarks } from './trial-marks.ts';
import { type CoveredNode, type TrustTrial, trustTrial } from './trust.ts';
import { type OursOnNode, oursOn, type Unmarked, unmarkAll } from './unmark.ts';

export interface ControlParts {
  readonly decisions: KeptDecisions;
  readonly keeper: LatchKeeper;
  readonly nodes: ClusterNodes;
  readonly writer: ClusterWriter;
  readonly keys: TaintKeys;
  /** Nodes that fail the same way, and the server that marks. */
  readonly marking: {
    failing(): readonly FailingAlike[];
    lease(): { readonly holder: string; readonly isOurs: boolean } | null;
    /** Null if the cluster has no Node of that name, or nobody looked at it yet. */
    shown(node: string): InspectedNode | null;
  };
  /** Of the policy in force. */
  readonly groups: {
    all(): readonly Pick<GroupShown, 'name' | 'mode'>[];
    of(node: string): Pick<GroupShown, 'name'>;
    isLatched(latched: readonly string[], group: string): boolean;
    /** Why trust cannot be enabled for good for these groups; none: all. */
    notLatchable(groups: readonly string[]): readonly string[];
  };
  /** Null: no node of that name is enrolled. */
  readonly committed: Pick<CommittedVerdicts, 'status'>;
  /** The Node that this server runs on; null: not known. */
  readonly ownNode: string | null;
  /** Faults of the API of the cluster at present, a sentence each. */
  readonly clusterFaults: () => readonly string[];
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export interface GroupShown {
  readonly name: string;
  readonly mode: Mode;
  readonly latched: boolean;
  readonly nodes: number;
}

/** Nodes that fail the same way, and the decision about them. */
export interface FailingShown extends Omit<FailingAlike, 'isMass'> {
  readonly hold: Hold | null;
}

export interface ClusterShown {
  readonly uid: string | null;
  readonly synced: boolean;
  /** Faults of the API of the cluster at present, a sentence each. */
  readonly apiFaults: readonly string[];
  readonly nodes: number;
  readonly lease: { readonly holder: string; readonly isOurs: boolean } | null;
  readonly groups: readonly GroupShown[];
  readonly pause: Pause | null;
  readonly latch: (Latch & { readonly inCluster: boolean | null; readonly faults: readonly string[] }) | null;
  readonly failing: readonly FailingShown[];
  readonly exemptions: readonly Exemption[];
}

/** The marks of a cluster as people see them, and decisions of people about them. */
export interface Control {
  shown(): Promise<ClusterShown>;
  exemption(node: string): Exemption | null;
  /** Marks that its Node has and is to have; null if that is not known. */
  marksOf(node: string): ShownMarks | null;
  pause(by: string, reason: string): Promise<Pause>;
  resume(by: string): Promise<boolean>;
  /** Those that were decided; none if nothing is meant. */
  decide(
    decision: 'held' | 'released',
    meant: HoldsMeant,
    person: { readonly by: string; readonly reason: string },
  ): Promise<readonly FailingShown[]>;
  /** Null if no node of that name is known. */
  exempt(exemption: Pick<Exemption, 'node' | 'reason' | 'by' | 'until'>): Promise<Exemption | null>;
  endExemption(node: string, by: string): Promise<boolean>;
  /** @throws ClusterError */
  tryTrust(groups: readonly string[]): Promise<TrustTrial & { readonly faults: readonly string[] }>;
  /**
   * @param person `copyOf`: id of the audit key of which this person showed a copy
   * @returns why it cannot be, or the latch as it is then
   */
  enableTrust(
    groups: readonly string[],
    person: { readonly by: string; readonly copyOf: string },
  ): Promise<{ readonly faults: readonly string[] } | ClusterShown>;
  /** Marks that a Node would get by this verdict; null if the cluster has none of that name. */
  tryMarks(node: string, tried: TriedVerdict): TrialMarks | null;
  tryUnmark(): { readonly latched: boolean; readonly nodes: readonly OursOnNode[] };
  /**
   * Pauses all marking, and removes every mark; or says why another server would put them back.
   * @throws Rejection `latched`; ClusterError; UnmarkFailed
   */
  unmark(request: {
    readonly by: string;
    readonly reason: string | null;
    readonly clusterUid: string | null;
  }): Promise<Unmarked | { readonly refused: string }>;
}

/** How long whoever looks waits for an API that gives no answer, in milliseconds. */
const patience = 500;

export function createControl(parts: ControlParts): Control {
  const { decisions, keeper, nodes, writer, keys, marking, groups: inForce, committed, now } = parts;
  let uid: string | null = null;
  const taintKeys = Object.values(keys);
  const readUid = async () => {
    uid ??= await writer.uid();
    return uid;
  };
  /** Never green on missing data: a verdict that is over trusts nobody. */
  const stateNow = (node: string): NodeState => {
    const { state, expiresAt } = committed.status(node) ?? { state: 'pending', expiresAt: null };
    return state === 'trusted' && expiresAt !== null && expiresAt <= now() ? 'unknown' : state;
  };
  const failing = () => withDecisions(marking.failing(), decisions.holds());
  const shown = async (): Promise<ClusterShown> => {
    const latch = decisions.latch();
    const counts = new Map<string, number>();
    let count = 0;
    for (const { name } of nodes.all()) {
      const group = inForce.of(name).name;
      counts.set(group, (counts.get(group) ?? 0) + 1);
      count += 1;
    }
    return {
      uid: await Promise.race([readUid().catch(() => null), delay(patience, null, { ref: false })]),
      synced: nodes.synced(),
      apiFaults: parts.clusterFaults(),
      nodes: count,
      lease: marking.lease(),
      groups: inForce.all().map(({ name, mode }) => ({
        name,
        mode,
        latched: latch !== null && inForce.isLatched(latch.groups, name),
        nodes: counts.get(name) ?? 0,
      })),
      pause: decisions.pause(),
      latch: latch && {
        ...latch,
        inCluster: keeper.inCluster(),
        faults: inForce.notLatchable(latch.groups),
      },
      failing: failing(),
      exemptions: decisions.exemptions(),
    };
  };
  return {
    shown,
    exemption: (node) => decisions.exemption(node),
    marksOf(node) {
      const shown = marking.shown(node);
      return shown && shownMarks(shown);
    },
    pause: (by, reason) => decisions.setPause(by, reason),
    resume: (by) => decisions.resume(by),
    async decide(decision, meant, person) {
      const decided = await decisions.decide(decision, meant, person);
      const its = new Set(decided.map(placeOf));
      return failing().filter(({ hold }) => hold !== null && its.has(placeOf(hold)));
    },
    async exempt(exemption) {
      if (nodes.get(exemption.node) === null && committed.status(exemption.node) === null) return null;
      return decisions.exempt(exemption);
    },
    endExemption: (node, by) => decisions.endExemption(node, by),
    async tryTrust(groups) {
      const covered: CoveredNode[] = [];
      for (const { name } of nodes.all()) {
        const group = inForce.of(name).name;
        if (inForce.isLatched(groups, group)) covered.push({ name, group, state: stateNow(name) });
      }
      const trial = trustTrial(covered, await writer.workloads(), keys);
      return { ...trial, faults: inForce.notLatchable(groups) };
    },
    async enableTrust(groups, { by, copyOf }) {
      const wanted: Latch = { groups, by, at: now() };
      const latch = widened(decisions.latch(), wanted);
      const faults = inForce.notLatchable(latch.groups);
      if (faults.length > 0) return { faults };
      await keeper.enable(latch, { auditKeyCopy: copyOf });
      return shown();
    },
    tryMarks(name, tried) {
      const node = nodes.get(name);
      if (node === null) return null;
      const by = { keys, ownNode: parts.ownNode, exemption: decisions.exemption(name), now: now() };
      return trialMarks(tried, committed.status(name), node, by);
    },
    tryUnmark: () => ({ latched: decisions.latch() !== null, nodes: oursOn(nodes.all(), taintKeys) }),
    async unmark({ by, reason, clusterUid }) {
      const cluster = await readUid();
      // Of both places: a server that has just come back may not know the one of its cluster yet.
      const latch = unite(decisions.latch(), await writer.readLatch());
      const refused = refusedUnmarking(latch, { clusterUid, reason }, cluster);
      if (refused !== null) throw new Rejection('latched', refused);
      const lease = marking.lease();
      if (lease !== null && !lease.isOurs)
        return { refused: `another server marks these nodes (${lease.holder}): stop it first, or ask it` };
      await decisions.setPause(by, reason ?? 'all marks are removed');
      const unmarked = await unmarkAll({
        nodes: () => nodes.all(),
        writer,
        keys: taintKeys,
        wait: (ms) => delay(ms),
      });
      await decisions.unmarked(by, { reason, nodes: unmarked.nodes.length, latched: latch !== null });
      return unmarked;
    },
  };
}

/** The wider of both latches: groups that were covered stay so. */
function widened(before: Latch | null, wanted: Latch): Latch {
  if (before === null || wanted.groups.length === 0) return wanted;
  if (before.groups.length === 0) return { ...wanted, groups: [] };
  return { ...wanted, groups: [...new Set([...before.groups, ...wanted.groups])].sort() };
}

function withDecisions(failing: readonly FailingAlike[], holds: readonly Hold[]): readonly FailingShown[] {
  const left = new Map(holds.map((hold) => [placeOf(hold), hold]));
  const shown = failing.map(({ isMass: _, ...alike }) => {
    const hold = left.get(placeOf(alike)) ?? null;
    left.delete(placeOf(alike));
    return { ...alike, hold };
  });
  const empty = [...left.values()].flatMap((hold) => {
    const { group, code, value } = hold;
    // Kept by another version, whose code this one does not have: nothing fails by it.
    if (!isReasonCode(code)) return [];
    return { group, code, value, nodes: 0, tainted: 0, waiting: 0, isOurs: false, hold };
  });
  return [...shown, ...empty];
}

function placeOf({ group, code, value }: Pick<Hold, 'group' | 'code' | 'value'>): string {
  return JSON.stringify([group, code, value]);
}
