import { LRUCache } from 'lru-cache';
import type { Delay } from '../formats/marking.ts';
import { atMost } from '../wire/at-most.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import type { Drift, MarkedGroup } from './judged-node.ts';
import type { Hold } from './ports.ts';

/** In which failures are counted together, and taints of drift are rationed, in milliseconds. */
export const breakerWindow = 10 * 60_000;
/** After which an undecided hold gives way, where the server is set so. */
const undecidedFor = 30 * 60_000;

/** How many nodes must fail alike to open it; how many taints of drift a group may get in a window, and may carry. */
export const opensAt = (nodes: number): number => Math.max(3, nodes * 0.2);
export const tenthOf = (nodes: number): number => Math.max(1, Math.floor(nodes * 0.1));

/** A node as the breaker sees it. */
export interface BreakerNode {
  readonly group: Pick<MarkedGroup, 'name'>;
  /** Set where drift alone counts against it, or a change of ours. */
  readonly drift: Drift | null;
  /** Whether it carries a taint for that. */
  readonly isTainted: boolean;
  /** Whether a taint would be put: by the mode of its group, and nobody's word against it. */
  readonly mayBeTainted: boolean;
  /** Of its TPM. */
  readonly ekDigest: string | null;
  /** When it was last found trusted, in milliseconds since the epoch; null: never. */
  readonly trustedAt: number | null;
}

/** What waits for a person. */
export type HeldKey = Pick<Hold, 'group' | 'code' | 'value'>;

/** Of so many nodes the latest taint is remembered, beyond the life of their Nodes. */
const mostTaints = 65_536;

/** For people and metrics. */
export interface FailingAlike extends HeldKey {
  readonly code: ReasonCode;
  /** How many nodes fail so, how many of them carry the taint, and how many waits hold it back. */
  readonly nodes: number;
  readonly tainted: number;
  readonly waiting: number;
  /** Enough in one window to open the breaker. */
  readonly isMass: boolean;
  /** Policy, references or server changed, and not what these nodes show. */
  readonly isOurs: boolean;
}

/**
 * Delays taints of drift, and those of verdicts that a change of ours turned; nothing else: what breaks many nodes at once is more
 * often a mistake of ours than an attack. What a change of ours turned waits for a person, were it one node, and no time ends that.
 * It holds by group, code and value. It reads no clock: `at` is milliseconds of a clock that nobody sets, and never falls.
 *
 * The base of all shares is the judged Nodes of the group that are neither control planes nor the server's own.
 */
export class Breaker {
  readonly #groups = new Map<string, Group>();
  readonly #groupOf = new Map<string, Group>();
  readonly #onExpiry: 'hold' | 'taint';
  /** By key: what was decided, and since when it is known here: time in which the server was down counts for nobody. */
  #holds = new Map<string, KnownHold>();
  #inDoubt = false;
  /**
   * By node: the latest taint of drift that was put. Attack: the Node is deleted and made anew to shed it, which makes it no
   * new one: nobody's place is taken, and nobody is asked again.
   */
  readonly #taints = new LRUCache<string, string>(atMost(mostTaints));

  constructor({ onExpiry }: { readonly onExpiry: 'hold' | 'taint' }) {
    this.#onExpiry = onExpiry;
  }

  /** @param since when it began to fail, where that is known; else now */
  set(name: string, node: BreakerNode, at: number, since = at): void {
    const before = this.#groupOf.get(name);
    if (before !== undefined && before.name !== node.group.name) this.forget(name);
    const group = this.#group(node.group.name);
    this.#groupOf.set(name, group);
    const known = group.nodes.get(name);
    const key = node.drift === null ? null : keyOf({ group: group.name, ...node.drift });
    const isSame = known !== undefined && known.key === key;
    if (node.isTainted && node.drift !== null) this.#taints.set(name, taintOf(node, node.drift));
    if (isSame && known.isTainted === node.isTainted && known.mayBeTainted === node.mayBeTainted) return;
    const failedAt = isSame ? known.failedAt : since;
    const wasTainted = node.drift !== null && this.#taints.get(name) === taintOf(node, node.drift);
    const isGranted = wasTainted || (isSame && known.isGranted);
    group.nodes.set(name, { ...node, name, key, failedAt, isGranted });
    group.decided = null;
  }

  forget(name: string): void {
    const group = this.#groupOf.get(name);
    if (group === undefined) return;
    group.nodes.delete(name);
    group.decided = null;
    this.#groupOf.delete(name);
  }

  /**
   * A taint of drift is being put: from now on nobody takes its place. So for one that is found at a start, since nobody knows
   * how long it is there.
   */
  grant(name: string, at: number): void {
    const group = this.#groupOf.get(name);
    const node = group?.nodes.get(name);
    if (group === undefined || node === undefined || node.isGranted) return;
    if (node.drift !== null) this.#taints.set(name, taintOf(node, node.drift));
    group.nodes.set(name, { ...node, isGranted: true });
    group.placed.push(at);
    group.decided = null;
  }

  /** What people decided. */
  decide(holds: readonly Hold[], at: number): void {
    this.#holds = new Map(
      holds.map((hold) => {
        const key = keyOf(hold);
        const known = this.#holds.get(key);
        const isSame = known?.hold.decision === hold.decision;
        return [key, { hold, knownAt: isSame ? known.knownAt : at, emptySince: known?.emptySince ?? null }];
      }),
    );
    this.#recount();
  }

  /** Whether API, clock or version are in doubt: then no taint of drift is put. */
  doubt(isInDoubt: boolean): void {
    if (this.#inDoubt !== isInDoubt) this.#recount();
    this.#inDoubt = isInDoubt;
  }

  /** Why the taint of this node waits; null where it does not. */
  delayOf(name: string, at: number): Delay | null {
    const group = this.#groupOf.get(name);
    if (group === undefined) return null;
    return this.#decided(group, at).delays.get(name) ?? null;
  }

  /** Nodes whose taint may be put now. */
  ready(at: number): readonly string[] {
    return [...this.#groups.values()].flatMap((group) => this.#decided(group, at).ready);
  }

  /** What opened and nobody knows of yet: whoever asks keeps it, and tells people. */
  opened(at: number): readonly HeldKey[] {
    return [...this.#groups.values()].flatMap((group) => this.#decided(group, at).opened);
  }

  /** Holds without a node for a whole window. One that a person wants stays. */
  ended(at: number): readonly Hold[] {
    const ended: Hold[] = [];
    if (this.#holds.size === 0) return ended;
    const failing = new Set([...this.#groups.values()].flatMap(keysOf));
    for (const known of this.#holds.values()) {
      const isEmpty = !failing.has(keyOf(known.hold));
      known.emptySince = isEmpty ? (known.emptySince ?? at) : null;
      if (known.emptySince === null || known.hold.decision === 'held') continue;
      if (at - known.emptySince >= breakerWindow) ended.push(known.hold);
    }
    return ended;
  }

  /** What fails, by group, code and value. */
  failing(at: number): readonly FailingAlike[] {
    return [...this.#groups.values()].flatMap((group) => {
      const { delays, mass } = this.#decided(group, at);
      const byKey = Map.groupBy(
        [...group.nodes.values()].filter(({ key }) => key !== null),
        ({ key }) => key,
      );
      return [...byKey].flatMap(([key, nodes]) => {
        const drift = nodes[0]?.drift;
        if (drift == null || key === null) return [];
        return {
          group: group.name,
          code: drift.code,
          value: drift.value,
          nodes: nodes.length,
          tainted: nodes.filter(({ isTainted }) => isTainted).length,
          waiting: nodes.filter(({ name }) => delays.has(name)).length,
          isMass: mass.has(key),
          isOurs: drift.isOurs === true,
        };
      });
    });
  }

  #group(name: string): Group {
    const known = this.#groups.get(name);
    if (known !== undefined) return known;
    const group: Group = { name, nodes: new Map(), placed: [], decided: null };
    this.#groups.set(name, group);
    return group;
  }

  #recount(): void {
    for (const group of this.#groups.values()) group.decided = null;
  }

  #decided(group: Group, at: number): Decided {
    const { decided } = group;
    if (decided !== null && at < decided.until) return decided;
    group.placed = group.placed.filter((moment) => moment > at - breakerWindow);
    const fresh = this.#decideOf(group, at);
    group.decided = fresh;
    return fresh;
  }

  #decideOf(group: Group, at: number): Decided {
    const all = [...group.nodes.values()].filter(({ key }) => key !== null).sort(byMoment);
    const base = group.nodes.size;
    const mass = new Set<string>();
    const counts = new Map<string, number>();
    let until = Number.POSITIVE_INFINITY;
    for (const { key, drift, failedAt } of all) {
      if (key === null || drift?.isOurs === true || failedAt <= at - breakerWindow) continue;
      until = Math.min(until, failedAt + breakerWindow);
      const count = (counts.get(key) ?? 0) + 1;
      counts.set(key, count);
      if (count >= opensAt(base)) mass.add(key);
    }
    const delays = new Map<string, Delay>();
    const ready: string[] = [];
    const opened = new Map<string, { readonly held: HeldKey; readonly as: Delay }>();
    let carried = all.filter(({ isTainted, isGranted }) => isTainted || isGranted).length;
    let got = group.placed.length;
    for (const moment of group.placed) until = Math.min(until, moment + breakerWindow);
    for (const node of all) {
      const { name, key, drift } = node;
      if (key === null || drift === null || node.isTainted || !node.mayBeTainted) continue;
      const decided = this.#holds.get(key);
      if (node.isGranted || (decided !== undefined && isReleased(decided, node))) {
        ready.push(name);
        continue;
      }
      const known = decided?.hold.decision === 'released' ? undefined : decided;
      if (drift.isOurs === true) {
        if (known === undefined) opened.set(key, { held: heldOf(group, drift), as: 'our_change' });
        delays.set(name, 'our_change');
        continue;
      }
      const end = known === undefined ? Number.POSITIVE_INFINITY : this.#endOf(known);
      const isOver = at >= end;
      if (!isOver) until = Math.min(until, end);
      const hold = (as: Delay) => {
        if (known === undefined && !opened.has(key)) opened.set(key, { held: heldOf(group, drift), as });
        delays.set(name, opened.get(key)?.as ?? as);
      };
      if (!isOver && (known !== undefined || opened.has(key) || mass.has(key))) hold('breaker');
      else if (this.#inDoubt) delays.set(name, 'doubt');
      else if (!isOver && carried >= tenthOf(base)) hold('standing_cap');
      else if (got >= tenthOf(base)) delays.set(name, 'limiter');
      else {
        ready.push(name);
        carried += 1;
        got += 1;
      }
    }
    return { delays, ready, mass, opened: [...opened.values()].map(({ held }) => held), until };
  }

  #endOf({ hold, knownAt }: KnownHold): number {
    if (this.#onExpiry !== 'taint' || hold.decision !== 'open') return Number.POSITIVE_INFINITY;
    return knownAt + undecidedFor;
  }
}

interface Group {
  readonly name: string;
  readonly nodes: Map<string, BreakerEntry>;
  /** When taints of drift were put, within the window. */
  placed: number[];
  /** Null: to be computed anew. */
  decided: Decided | null;
}

interface BreakerEntry extends BreakerNode {
  readonly name: string;
  readonly key: string | null;
  readonly failedAt: number;
  readonly isGranted: boolean;
}

interface KnownHold {
  readonly hold: Hold;
  readonly knownAt: number;
  emptySince: number | null;
}

interface Decided {
  readonly delays: ReadonlyMap<string, Delay>;
  readonly ready: readonly string[];
  readonly mass: ReadonlySet<string>;
  readonly opened: readonly HeldKey[];
  /** It holds until then, if nothing happens. */
  readonly until: number;
}

function heldOf({ name: group }: Group, { code, value }: Drift): HeldKey {
  return { group, code, value };
}

function keysOf({ nodes }: Group): readonly string[] {
  return [...nodes.values()].flatMap(({ key }) => key ?? []);
}

/** A person decided about those that failed by then, and what fails with them; not about others at any later time. */
function isReleased({ hold, knownAt }: KnownHold, { failedAt }: BreakerEntry): boolean {
  return hold.decision === 'released' && failedAt <= knownAt + breakerWindow;
}

export function keyOf({ group, code, value }: HeldKey): string {
  return JSON.stringify([group, code, value]);
}

/** Of one node: the same until its code or its TPM is another one, or it was trusted again. */
function taintOf({ group, ekDigest, trustedAt }: BreakerNode, { code }: Drift): string {
  return JSON.stringify([group.name, ekDigest, code, trustedAt]);
}

/** Who failed first is tainted first. */
function byMoment(a: BreakerEntry, b: BreakerEntry): number {
  return a.failedAt - b.failedAt || (a.name < b.name ? -1 : 1);
}
