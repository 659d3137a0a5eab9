import type { ReferenceKind } from '../formats/reference.ts';
import { aspects } from '../policy/aspects.ts';
import { unknownIn, unknownMarks } from '../policy/kept-unknown.ts';
import { classOf, type ReasonCode } from '../wire/reasons.ts';
import type { AspectName, Verdict } from '../wire/verdict.ts';

export interface CandidateStatus {
  readonly name: string;
  readonly verdict: Verdict | null;
  readonly verifiedAt: number | null;
  readonly memory: Readonly<Record<string, unknown>>;
}

export interface CandidateFilter {
  readonly group?: string | undefined;
  readonly kind?: ReferenceKind | undefined;
}

/** Nodes that show the same. */
export interface AlikeNodes {
  readonly aspect: AspectName;
  readonly kind: ReferenceKind;
  readonly group: string;
  readonly key: string;
  readonly nodes: CandidateStatus[];
  firstSeen: number;
}

interface Grouped {
  readonly alike: ReadonlyMap<string, AlikeNodes>;
  readonly held: ReadonlyMap<string, ReadonlySet<ReasonCode>>;
  readonly unknown: number;
}

const kindOf: ReadonlyMap<AspectName, ReferenceKind | null> = new Map(
  aspects.map(({ name, referenceKind }) => [name, referenceKind]),
);

export function group(statuses: readonly CandidateStatus[], filter: CandidateFilter): Grouped {
  const alike = new Map<string, AlikeNodes>();
  const held = new Map<string, ReadonlySet<ReasonCode>>();
  let count = 0;
  for (const status of statuses) {
    const { name, verdict, memory } = status;
    if (verdict === null || verdict.state === 'unknown' || verdict.state === 'unsupported') continue;
    if (filter.group !== undefined && verdict.group !== filter.group) continue;
    const against = new Set(verdict.reasons.filter(isHeldBy).map(({ code }) => code));
    let isUnknown = false;
    for (const { aspect, key: its, since, isHeld, inInitrd } of unknownMarks(memory)) {
      const kind = inInitrd ? 'runtime' : (kindOf.get(aspect) ?? null);
      if (kind === null || (filter.kind !== undefined && kind !== filter.kind)) continue;
      if (isHeld || against.size > 0) {
        held.set(name, new Set([...(unknownIn(memory)[aspect]?.held ?? []), ...against]));
        continue;
      }
      isUnknown = true;
      const key = `${aspect} ${verdict.group} ${its}`;
      const known = alike.get(key);
      if (known === undefined)
        alike.set(key, { aspect, kind, group: verdict.group, key, nodes: [status], firstSeen: since });
      else {
        known.nodes.push(status);
        known.firstSeen = Math.min(known.firstSeen, since);
      }
    }
    if (isUnknown) count += 1;
  }
  return { alike, held, unknown: count };
}

/** Nodes that show one thing, and what that counts for. */
export interface SharedUnknown {
  readonly nodes: number;
  readonly codes: readonly ReasonCode[];
}

/** The unknown thing that most others of the group show with this node; null if nothing of it is unknown. */
export function sharedWith(
  name: string,
  statuses: readonly CandidateStatus[],
  inGroup: string,
): SharedUnknown | null {
  const [most] = [...group(statuses, { group: inGroup }).alike.values()]
    .filter(({ nodes }) => nodes.some((node) => node.name === name))
    .sort(byNodes);
  const [first] = most?.nodes ?? [];
  if (most === undefined || first === undefined) return null;
  return { nodes: most.nodes.length, codes: unknownIn(first.memory)[most.aspect]?.codes ?? [] };
}

/** Whether a reason holds a node, also one found since it was judged, as that its TPM is another node, too. */
function isHeldBy({ code, severity }: Verdict['reasons'][number]): boolean {
  return severity === 'fail' && classOf(code) === 'failed';
}

export function byNodes(a: AlikeNodes, b: AlikeNodes): number {
  if (a.nodes.length !== b.nodes.length) return b.nodes.length - a.nodes.length;
  return a.key < b.key ? -1 : 1;
}

export function byNode(a: { readonly node: string }, b: { readonly node: string }): number {
  return a.node < b.node ? -1 : 1;
}
