import type { Reference } from '../../protocol/reference.ts';
import type { Aspect as AspectName } from '../../protocol/verdict.ts';
import type { Proven } from '../../verify/proven.ts';
import { aspects } from '../aspects.ts';
import type { PolicyGroup } from '../policy.ts';
import { likenessTo } from '../reference-reach.ts';

/** What one node shows of an aspect, in its own words, and the active references of its kind that affirm it. */
export interface ObservedAspect {
  readonly said: Readonly<Record<string, unknown>>;
  readonly references: readonly string[];
}
export type Posture = Readonly<Partial<Record<AspectName, ObservedAspect>>>;

/** For many nodes: what the references say is made ready once. @param at milliseconds since the epoch */
export function postureObserver(
  references: readonly Reference[],
  at: number,
): (proven: Proven, node: string, group: PolicyGroup) => Posture {
  const active = references
    .filter(({ kind, state }) => kind !== 'boot' && state === 'active')
    .map(({ kind, name, ...one }) => ({ kind, name, isLike: likenessTo({ ...one, kind, name }) }));
  return (proven, node, group) =>
    Object.fromEntries(
      aspects.flatMap(({ name, referenceKind, observe }) => {
        const said = observe?.(proven) ?? null;
        if (said === null) return [];
        const its = active.filter(
          ({ kind, isLike }) => kind === referenceKind && isLike?.(proven, node, group, at) === true,
        );
        return [[name, { said, references: its.map((one) => one.name) }] as const];
      }),
    );
}
