import { type Json, type JsonObject, type KubeObject, textAt } from './json.ts';
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
  strategy: strategyOf((object) => checkPlace(object, 'involvedObject')),
};

export const modernEvents: ResourceType = {
  ...shared,
  group: 'events.k8s.io',
  strategy: strategyOf((object) => [...checkPlace(object, 'regarding'), ...checkModern(object)]),
  face: {
    table: '/events',
    toStored: (object) => renamed(object, 'v1', ([core, modern]) => [modern, core]),
    toShown: (object) => renamed(object, 'events.k8s.io/v1', ([core, modern]) => [core, modern]),
  },
};

function strategyOf(check: (object: KubeObject) => readonly Cause[]): Strategy {
  return {
    prepareCreate: (object) => object,
    prepareUpdate: (object) => object,
    validate: (object, old) => (old === null ? check(object) : []),
  };
}

/** An Event is where its object is; that of an object without a namespace is in `default`. */
function checkPlace(object: KubeObject, member: string): readonly Cause[] {
  const its = textAt(object, member, 'namespace') ?? '';
  const namespace = object.metadata.namespace ?? '';
  if (its === '' ? namespace === 'default' : its === namespace) return [];
  return [invalidValue('involvedObject.namespace', its, 'does not match event.namespace')];
}

function checkModern(object: KubeObject): readonly Cause[] {
  const causes: Cause[] = ['eventTime', 'reportingController', 'reportingInstance', 'action', 'reason']
    .filter((name) => (textAt(object, name) ?? '') === '')
    .map((name) => required(name));
  const type = textAt(object, 'type') ?? '';
  if (type !== 'Normal' && type !== 'Warning')
    causes.push(invalidValue('type', type, `has invalid value: ${type}`));
  for (const [name, most] of [
    ['note', 1024],
    ['reason', 128],
    ['action', 128],
    ['reportingInstance', 128],
  ] as const) {
    const value = textAt(object, name) ?? '';
    if (value.length > most) causes.push(invalidValue(name, '', `can have at most ${most} characters`));
  }
  const time = textAt(object, 'eventTime') ?? '';
  if (time !== '' && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$/.test(time)) {
    causes.push(invalidValue('eventTime', time, 'a MicroTime has six digits after the second'));
  }
  return causes;
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
