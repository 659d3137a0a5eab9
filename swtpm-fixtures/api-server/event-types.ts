import { at, isEqual, isObject, type Json, type JsonObject, type KubeObject, textAt } from './json.ts';
import { usualLists } from './list-shapes.ts';
import type { ResourceType, Strategy } from './resource-type.ts';
import { type Cause, invalidValue, required } from './status.ts';

/** Names of members: as core/v1 has them, which is how they are stored, and as events.k8s.io/v1 does. */
const names: readonly (readonly [core: string, modern: string])[] = [
  ['involvedObject', 'regarding'],
  ['message', 'note'],
  ['source', 'deprecatedSource'],
  ['firstTimestamp', 'deprecatedFirstTimestamp'],
  ['lastTimestamp', 'deprecatedLastTimestamp'],
  ['count', 'deprecatedCount'],
  ['reportingComponent', 'reportingController'],
];

const shared = {
  ...{ plural: 'events', singular: 'event', kind: 'Event', version: 'v1', shortNames: ['ev'] },
  namespaced: true,
  subresources: [],
  unconditionalUpdate: true,
  createOnUpdate: true,
  lists: usualLists,
  schema: null,
};

export const coreEvents: ResourceType = {
  ...shared,
  group: '',
  strategy: strategyOf((object, old) => (old === null ? checkPlace(object, 'involvedObject', false) : [])),
};

export const modernEvents: ResourceType = {
  ...shared,
  group: 'events.k8s.io',
  strategy: strategyOf((object, old) =>
    old === null
      ? [...checkPlace(object, 'regarding', true), ...checkModern(object)]
      : [...checkUnchanged(object, old), ...checkSeries(object)],
  ),
  face: {
    table: '/events',
    toStored: (object) => renamed(object, 'v1', ([core, modern]) => [modern, core]),
    toShown: (object) => renamed(object, 'events.k8s.io/v1', ([core, modern]) => [core, modern]),
  },
};

function strategyOf(check: (object: KubeObject, old: KubeObject | null) => readonly Cause[]): Strategy {
  return {
    prepareCreate: (object) => object,
    prepareUpdate: (object) => object,
    validate: check,
  };
}

/**
 * An Event is where its object is; that of an object without a namespace is in `default`.
 * @param mayBeInDefault those of another object may be there, too
 */
function checkPlace(object: KubeObject, member: string, mayBeInDefault: boolean): readonly Cause[] {
  const its = textAt(object, member, 'namespace') ?? '';
  const namespace = object.metadata.namespace ?? '';
  const isInDefault = namespace === 'default' && (its === '' || mayBeInDefault);
  if (isInDefault || (its !== '' && its === namespace)) return [];
  return [invalidValue('involvedObject.namespace', its, 'does not match event.namespace')];
}

/** Its faults are told by the names of core/v1, but for the members that both have. */
function checkModern(object: KubeObject): readonly Cause[] {
  const causes: Cause[] = ['eventTime', 'reportingController', 'reportingInstance', 'action', 'reason']
    .filter((name) => (textAt(object, name) ?? '') === '')
    .map((name) => required(name));
  const type = textAt(object, 'type') ?? '';
  if (type !== 'Normal' && type !== 'Warning')
    causes.push(invalidValue('type', '', `has invalid value: ${type}`));
  for (const [name, most] of [
    ['note', 1024],
    ['reason', 128],
    ['action', 128],
    ['reportingInstance', 128],
  ] as const) {
    const value = textAt(object, name) ?? '';
    const field = name === 'note' ? 'message' : name;
    if (value.length > most) causes.push(invalidValue(field, '', `can have at most ${most} characters`));
  }
  for (const [core, modern] of names) {
    const value = object[modern] ?? null;
    const isUnset = value === null || (isObject(value) && Object.keys(value).length === 0);
    if (modern.startsWith('deprecated') && !isUnset) causes.push(invalidValue(core, '', 'needs to be unset'));
  }
  return [...causes, ...checkSeries(object)];
}

function checkSeries({ series = null }: KubeObject): readonly Cause[] {
  if (series === null) return [];
  const count = at(series, 'count');
  return [
    ...(typeof count === 'number' && count >= 2
      ? []
      : [invalidValue('series.count', '', 'should be at least 2')]),
    ...(textAt(series, 'lastObservedTime') === undefined ? [required('series.lastObservedTime')] : []),
  ];
}

/** Only its series goes on. */
function checkUnchanged(object: KubeObject, old: KubeObject): readonly Cause[] {
  const changed = new Map(names.map(([core, modern]) => [modern, core]));
  const members = ['action', 'eventTime', 'reason', 'related', 'reportingInstance', 'type'];
  return [...changed.keys(), ...members]
    .filter((name) => !isEqual(object[name] ?? null, old[name] ?? null))
    .map((name) => invalidValue(changed.get(name) ?? name, object[name], 'field is immutable'));
}

function renamed(
  object: KubeObject,
  apiVersion: string,
  pair: (names: readonly [string, string]) => readonly [from: string, to: string],
): KubeObject {
  const to = new Map<string, string>(names.map(pair));
  const { kind, metadata, apiVersion: _, ...rest } = object;
  const members: JsonObject = Object.fromEntries(
    Object.entries(rest).map(([name, value]): [string, Json] => [to.get(name) ?? name, value]),
  );
  return { ...members, apiVersion, kind, metadata };
}
