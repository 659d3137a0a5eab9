import type { SimulatedNodeView } from '../../../api/policy-api.ts';
import { Breaker } from '../../../marking/breaker.ts';
import { driftOf } from '../../../marking/judged-node.ts';

/** The effect of the breaker on the taints of a change that comes at once. */
export interface BreakerAnswer {
  /** Nodes that would be tainted at once. */
  readonly tainted: number;
  /** Nodes whose taint would wait: for a person, or for those before them. */
  readonly waiting: number;
  readonly held: readonly {
    readonly group: string;
    readonly code: string;
    readonly value: string | null;
    readonly nodes: number;
  }[];
}

/** @param items every node: groups count as a whole. Null if no node of a cluster is among them */
export function breakerAnswer(items: readonly SimulatedNodeView[]): BreakerAnswer | null {
  const marked = items.filter(({ marks, after }) => marks !== null && after !== null);
  if (marked.length === 0) return null;
  const breaker = new Breaker({ onExpiry: 'hold' });
  let tainted = 0;
  for (const { node, before, after, marks } of marked) {
    if (after === null || marks === null) continue;
    const code = after.reasons[0]?.code;
    // What is trusted now would turn by this alone.
    const isOurs = before?.state === 'trusted' && code !== undefined;
    const drift = isOurs ? ({ code, value: 'policy', isOurs } as const) : driftOf(after.state, after.reasons);
    const has = new Set(marks.before?.taints);
    const gets = marks.after.taints.some((taint) => !has.has(taint));
    const isTainted = marks.after.taints.length > 0 && !gets;
    const group = { name: after.group };
    breaker.set(node, { group, drift, isTainted, mayBeTainted: gets, ekDigest: null, trustedAt: null }, 0);
    if (gets && drift === null) tainted += 1;
  }
  const failing = breaker.failing(0);
  const ready = breaker.ready(0).length;
  return {
    tainted: tainted + ready,
    waiting: failing.reduce((sum, { waiting }) => sum + waiting, 0),
    held: breaker.opened(0).map((held) => ({
      ...held,
      nodes: failing.find((one) => isSame(one, held))?.waiting ?? 0,
    })),
  };
}

type Key = { readonly group: string; readonly code: string; readonly value: string | null };

function isSame(a: Key, b: Key): boolean {
  return a.group === b.group && a.code === b.code && a.value === b.value;
}
