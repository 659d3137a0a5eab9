import { withoutEmptyLists } from './decode.ts';
import { at, isObject, type KubeObject, without } from './json.ts';
import type { Strategy } from './resource-type.ts';
import { type Cause, invalidValue } from './status.ts';

/** Coordination/v1 Lease. Who of several is meant to lead is an alpha feature: its members are dropped. */
export const leaseStrategy: Strategy = {
  prepareCreate: cleaned,
  prepareUpdate: cleaned,
  validate: ({ spec = {} }) => [
    ...checkAtLeast(spec, 'leaseDurationSeconds', 1, 'must be greater than 0'),
    ...checkAtLeast(spec, 'leaseTransitions', 0, 'must be greater than or equal to 0'),
  ],
};

function cleaned(object: KubeObject): KubeObject {
  const { spec } = object;
  if (!isObject(spec)) return object;
  return { ...object, spec: withoutEmptyLists(without(spec, 'strategy', 'preferredHolder')) };
}

function checkAtLeast(spec: KubeObject['spec'], name: string, least: number, why: string): readonly Cause[] {
  const value = at(spec, name);
  return typeof value === 'number' && value < least ? [invalidValue(`spec.${name}`, value, why)] : [];
}
