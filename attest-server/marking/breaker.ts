import { LRUCache } from 'lru-cache';
import type { Delay } from '../formats/marking.ts';
import { atMost } from '../wire/at-most.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import { BreakerGroup, type BreakerNode, type FailingEntry, isFailing, mayWait } from './breaker-group.ts';
import type { Drift } from './judged-node.ts';
import type { Hold } from './ports.ts';

/** In which failures are counted together, and taints of drift are rationed, in milliseconds. */
export const breakerWindow = 10 * 60_000;
/** After which an undecided hold gives way, where the server is set so. */
const undecidedFor = 30 * 60_000;

/** How many nodes must fail the same way to open it; how many taints of drift a group may get in a window, and may carry. */
export const opensAt = (nodes: number): number => Math.max(3, nodes * 0.2);
export const tenthOf = (nodes: number): number => Math.max(1, Math.floor(nodes * 0.1));

/** Identity of a hold that waits for a person. */
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
 * It holds by group, code and value. It reads no clock: `at` is monotonic milliseconds.
 *
 * The base of all shares is the judged Nodes of the group that are neither control planes nor the server's own.
 */
export class Breaker {
  readonly #groups = new Map<string, BreakerGroup>();
  readonly #groupOf = new Map<string, BreakerGroup>();
  readonly #onExpiry: 'hold' | 'taint';
  /** By key: what was decided, and since when it is known here: time in which the server was down counts for nobody. */
  #holds = new Map<string, KnownHold>();
  #inDoubt = false;
  /**
   * By node: the latest taint of drift that was put. Attack: the Node is deleted and created again to shed it, which
   * does not make it a new taint: it takes no further place, and nobody is asked again.
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
    group.put(name, { ...node, name, key, failedAt, isGranted });
  }

  forget(name: string): void {
    this.#groupOf.get(name)?.put(name, null);
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
    group.put(name, { ...node, isGranted: true });
    group.placed.push(at);
  }

  /** Takes over the decisions of people. */
  decide(holds: readonly Hold[], at: number): void {
    this.#holds = new Map(
      holds.map((hold) => {
        const key = keyOf(hold);
        const known = this.#holds.get(key);
        const isSame = known?.hold.decision === hold.decision;
        return [key, { hold, knownAt: isSame ? known.knownAt : at, emptySince: known?.emptySince ?? null }];
      }),
    );
  }

  /** Whether API, clock or version are in doubt: then no taint of drift is put. */
  doubt(isInDoubt: boolean): void {
    this.#inDoubt = isInDoubt;
  }

  /** Why the taint of this node waits; null if it does not. */
  delayOf(name: string, at: number): Delay | null {
    const group = this.#groupOf.get(name);
    const node = group?.nodes.get(name);
    if (group === undefined || node === undefined || !mayWait(node)) return null;
    let delay = this.#delay(group, node, 0, at);
    if (delay !== null || this.#hasPlace(node)) return delay;
    // Only where a place is free it counts who is before it.
    let ahead = 0;
    for (const before of group.waiting) {
      if (before === node || delay !== null) break;
      if (this.#hasPlace(before) || this.#delay(group, before, ahead, at) !== null) continue;
      ahead += 1;
      delay = this.#delay(group, node, ahead, at);
    }
    return delay;
  }

  /** Nodes whose taint may be put now. */
  ready(at: number): readonly string[] {
    return [...this.#groups.values()].flatMap((group) =>
      this.#decided(group, at).flatMap(({ node, delay }) => (delay === null ? node.name : [])),
    );
  }

  /** Holds that opened and nobody knows of yet: the caller stores them, and tells people. */
  opened(at: number): readonly HeldKey[] {
    const opened = new Map<string, HeldKey>();
    for (const group of this.#groups.values())
      for (const { node, delay } of this.#decided(group, at))
        if (delay !== null && asksPeople.has(delay) && this.#heldBy(node) === undefined)
          opened.set(node.key, { group: group.name, code: node.drift.code, value: node.drift.value });
    return [...opened.values()];
  }

  /** Holds without a node for a whole window. One that a person wants stays. */
  ended(at: number): readonly Hold[] {
    const ended: Hold[] = [];
    if (this.#holds.size === 0) return ended;
    const failing = new Set(
      [...this.#groups.values()].flatMap(({ nodes }) => [...nodes.values()].map(({ key }) => key)),
    );
    for (const known of this.#holds.values()) {
      const isEmpty = !failing.has(keyOf(known.hold));
      known.emptySince = isEmpty ? (known.emptySince ?? at) : null;
      if (known.emptySince === null || known.hold.decision === 'held') continue;
      if (at - known.emptySince >= breakerWindow) ended.push(known.hold);
    }
    return ended;
  }

  /** Failures, by group, code and value. */
  failing(at: number): readonly FailingAlike[] {
    return [...this.#groups.values()].flatMap((group) => {
      const delayed = new Set(
        this.#decided(group, at).flatMap(({ node, delay }) => (delay === null ? [] : node)),
      );
      const byKey = Map.groupBy([...group.nodes.values()].filter(isFailing), ({ key }) => key);
      return [...byKey].flatMap(([key, nodes]) => {
        const [{ drift } = { drift: null }] = nodes;
        if (drift === null) return [];
        return {
          group: group.name,
          code: drift.code,
          value: drift.value,
          nodes: nodes.length,
          tainted: nodes.filter(({ isTainted }) => isTainted).length,
          waiting: nodes.filter((node) => delayed.has(node)).length,
          isMass: isMass(group, key, at),
          isOurs: drift.isOurs === true,
        };
      });
    });
  }

  #group(name: string): BreakerGroup {
    const known = this.#groups.get(name);
    if (known !== undefined) return known;
    const group = new BreakerGroup(name);
    this.#groups.set(name, group);
    return group;
  }

  /** Each that waits, and why: who failed first is tainted first. */
  #decided(
    group: BreakerGroup,
    at: number,
  ): readonly { readonly node: FailingEntry; readonly delay: Delay | null }[] {
    let ahead = 0;
    return [...group.waiting].map((node) => {
      const delay = this.#delay(group, node, ahead, at);
      if (delay === null && !this.#hasPlace(node)) ahead += 1;
      return { node, delay };
    });
  }

  /** Why the taint of this node waits. @param ahead so many of those before it take a place first */
  #delay(group: BreakerGroup, node: FailingEntry, ahead: number, at: number): Delay | null {
    if (this.#hasPlace(node)) return null;
    if (node.drift.isOurs === true) return 'our_change';
    const held = this.#heldBy(node);
    const isOver = held !== undefined && at >= this.#endOf(held);
    if (!isOver && (held !== undefined || isMass(group, node.key, at))) return 'breaker';
    if (this.#inDoubt) return 'doubt';
    const places = tenthOf(group.nodes.size) - ahead;
    if (!isOver && group.carried >= places) return 'standing_cap';
    return group.placedSince(at - breakerWindow) >= places ? 'limiter' : null;
  }

  /** It had its taint, or a person lets it have it: no bound counts. */
  #hasPlace(node: FailingEntry): boolean {
    const known = this.#holds.get(node.key);
    return node.isGranted || (known !== undefined && isReleased(known, node));
  }

  #heldBy({ key }: FailingEntry): KnownHold | undefined {
    const known = this.#holds.get(key);
    return known?.hold.decision === 'released' ? undefined : known;
  }

  #endOf({ hold, knownAt }: KnownHold): number {
    if (this.#onExpiry !== 'taint' || hold.decision !== 'open') return Number.POSITIVE_INFINITY;
    return knownAt + undecidedFor;
  }
}

/** Delays that a person ends. */
const asksPeople: ReadonlySet<Delay> = new Set(['our_change', 'breaker', 'standing_cap']);

interface KnownHold {
  readonly hold: Hold;
  readonly knownAt: number;
  emptySince: number | null;
}

function isMass(group: BreakerGroup, key: string, at: number): boolean {
  return group.failedSince(key, at - breakerWindow) >= opensAt(group.nodes.size);
}

/** A person decided about those that failed by then, and what fails with them; not about others at any later time. */
function isReleased({ hold, knownAt }: KnownHold, { failedAt }: FailingEntry): boolean {
  return hold.decision === 'released' && failedAt <= knownAt + breakerWindow;
}

export function keyOf({ group, code, value }: HeldKey): string {
  return JSON.stringify([group, code, value]);
}

/** Of one node: the same until its code or its TPM is another one, or it was trusted again. */
function taintOf({ group, ekDigest, trustedAt }: BreakerNode, { code }: Drift): string {
  return JSON.stringify([group.name, ekDigest, code, trustedAt]);
}
