import type { Reference } from '../../formats/reference.ts';
import type { Proven } from '../../verify/proven.ts';
import type { AspectName } from '../../wire/verdict.ts';
import { aspects } from '../aspects.ts';
import type { PolicyGroup } from '../policy.ts';
import { likenessTo } from '../reference-reach.ts';

/** An aspect of one node, in its own words, and the active references of its kind that affirm it. */
export interface ObservedAspect {
  readonly said: Readonly<Record<string, unknown>>;
  readonly references: readonly string[];
}
export type Posture = Readonly<Partial<Record<AspectName, ObservedAspect>>>;

/** For many nodes, in steps of some milliseconds: what the references say is prepared once. @param at milliseconds since the epoch */
export function postureObserver(
  references: readonly Reference[],
  at: number,
): (proven: Proven, node: string, group: PolicyGroup) => Generator<void, Posture> {
  const active = references
    .filter(({ kind, state }) => kind !== 'boot' && state === 'active')
    .map(({ kind, name, ...one }) => ({ kind, name, isLike: likenessTo({ ...one, kind, name }) }));
  return function* (proven, node, group) {
    const posture: Partial<Record<AspectName, ObservedAspect>> = {};
    for (const { name, referenceKind, observe } of aspects) {
      const said = observe?.(proven) ?? null;
      if (said === null) continue;
      const references: string[] = [];
      for (const { kind, name: its, isLike } of active)
        if (kind === referenceKind && isLike !== null && (yield* isLike(proven, node, group, at)))
          references.push(its);
      posture[name] = { said, references };
    }
    return posture;
  };
}
