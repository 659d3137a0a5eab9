import { withoutEmptyLists } from './decode.ts';
import { at, isEqual, isObject, type Json, type KubeObject, listAt, textAt } from './json.ts';
import { checkLabelValue, checkQualifiedName } from './metadata-rules.ts';
import type { Strategy } from './resource-type.ts';
import { type Cause, duplicate, forbiddenField, notSupported, required } from './status.ts';

const effects = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'] as const;

/** Core/v1 Node: what may change by which door, and what is refused. */
export const nodeStrategy: Strategy = {
  prepareCreate: (object) => complete(notReady(object)),
  prepareUpdate(object, old, part) {
    const kept = part === 'status' ? { spec: old.spec ?? {} } : { status: old.status ?? {} };
    return complete({ ...object, ...kept });
  },
  validate(object, old) {
    return [
      ...checkTaints(object),
      ...checkAddresses(object),
      ...(old === null ? [] : checkUpdate(object, old)),
    ];
  },
};

/** A new Node is kept free of pods until a controller finds that its kubelet is ready. */
function notReady(object: KubeObject): KubeObject {
  const taints = listAt(object, 'spec', 'taints');
  if (taints.some(isNotReadyTaint)) return object;
  const added = { key: notReadyTaint, effect: 'NoSchedule' };
  return { ...object, spec: { ...members(object.spec), taints: [...taints, added] } };
}

const notReadyTaint = 'node.kubernetes.io/not-ready';

export function isNotReadyTaint(taint: Json): boolean {
  return textAt(taint, 'key') === notReadyTaint;
}

/** The members that a Node always has, and none that is empty: that is why the last taint takes its list along. */
function complete(object: KubeObject): KubeObject {
  const { spec = {}, status = {}, ...rest } = object;
  const capacity = at(status, 'capacity');
  const cleaned = withoutEmptyLists({
    ...(isObject(status) ? status : {}),
    ...(capacity !== undefined && at(status, 'allocatable') === undefined && { allocatable: capacity }),
    nodeInfo: { ...noNodeInfo, ...(isObject(at(status, 'nodeInfo')) && members(at(status, 'nodeInfo'))) },
    daemonEndpoints: { kubeletEndpoint: { Port: 0 }, ...members(at(status, 'daemonEndpoints')) },
  });
  const conditions = listAt(status, 'conditions').map((condition) => ({
    ...{ lastHeartbeatTime: null, lastTransitionTime: null },
    ...members(condition),
  }));
  const taints = listAt(spec, 'taints').map(withoutEmptyTexts);
  const cleanedSpec = withoutEmptyLists({ ...members(spec), ...(taints.length > 0 && { taints }) });
  const whole = { ...members(cleaned), ...(conditions.length > 0 && { conditions }) };
  return { ...rest, spec: cleanedSpec, status: whole };
}

function checkTaints(object: KubeObject): readonly Cause[] {
  const seen = new Set<string>();
  return listAt(object, 'spec', 'taints').flatMap((taint, index) => {
    // So the real one names them, although they stand in the spec.
    const field = `metadata.taints[${index}]`;
    const [key = '', value = '', effect = ''] = ['key', 'value', 'effect'].map((name) => textAt(taint, name));
    const pair = `${key}:${effect}`;
    const isSecond = seen.has(pair);
    seen.add(pair);
    return [
      ...(key === '' ? [required(`${field}.key`)] : checkQualifiedName(`${field}.key`, key)),
      ...checkLabelValue(`${field}.value`, value),
      ...(effect === '' ? [required(`${field}.effect`)] : []),
      ...(effect !== '' && !effects.some((known) => known === effect)
        ? [notSupported(`${field}.effect`, effect, effects)]
        : []),
      ...(isSecond ? [uniquePair(field, taint)] : []),
    ];
  });
}

function uniquePair(field: string, taint: Json): Cause {
  const { message, ...cause } = duplicate(field, taint);
  return { ...cause, message: `${message}: taints must be unique by key and effect pair` };
}

function checkAddresses(object: KubeObject): readonly Cause[] {
  const seen: Json[] = [];
  return listAt(object, 'status', 'addresses').flatMap((address, index) => {
    if (seen.some((other) => isEqual(other, address)))
      return [duplicate(`status.addresses[${index}]`, address)];
    seen.push(address);
    return [];
  });
}

/** The rest of a spec is of whoever made the Node. */
function checkUpdate(object: KubeObject, old: KubeObject): readonly Cause[] {
  const before = textAt(old, 'spec', 'providerID') ?? '';
  if (before !== '' && before !== textAt(object, 'spec', 'providerID')) {
    return [
      forbiddenField('spec.providerID', 'node updates may not change providerID except from "" to valid'),
    ];
  }
  const rest = (node: KubeObject) =>
    Object.entries(members(node.spec)).filter(([name]) => !freeOfSpec.includes(name));
  if (isEqual(Object.fromEntries(rest(object)), Object.fromEntries(rest(old)))) return [];
  const oldCidr = textAt(old, 'spec', 'podCIDR') ?? '';
  if (oldCidr === '' && rest(old).length <= rest(object).length) return [];
  return [forbiddenField('', 'node updates may only change labels, taints, or capacity')];
}

const freeOfSpec: readonly string[] = ['taints', 'unschedulable', 'providerID'];

const noNodeInfo = Object.fromEntries(
  [
    ...['architecture', 'bootID', 'containerRuntimeVersion', 'kernelVersion', 'kubeProxyVersion'],
    ...['kubeletVersion', 'machineID', 'operatingSystem', 'osImage', 'systemUUID'],
  ].map((name) => [name, '']),
);

function members(value: Json | undefined) {
  return isObject(value) ? value : {};
}

function withoutEmptyTexts(value: Json): Json {
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== '' && member !== null));
}
