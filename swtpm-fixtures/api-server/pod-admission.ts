import type { Admission } from './admission.ts';
import type { ResourceRequest } from './api-request.ts';
import { isObject, type JsonObject, textAt } from './json.ts';
import type { ObjectStore } from './object-store.ts';
import { mirrorAnnotation } from './pod-rules.ts';
import { badRequest, conflict, forbidden, notFound } from './status.ts';

/** The admission plugin ServiceAccount: no pod runs as an account that is not there. */
export function podAdmission(store: ObjectStore): Admission['admit'] {
  return ({ operation, type, subresource, namespace, name, object }) => {
    if (type.group !== '' || type.plural !== 'pods' || operation !== 'CREATE' || subresource !== '') return;
    if (object === null || object.metadata.annotations?.[mirrorAnnotation] !== undefined) return;
    const account = textAt(object, 'spec', 'serviceAccountName') ?? '';
    if (store.get('/serviceaccounts', `${namespace}/${account}`) !== null) return;
    const where = `service account ${namespace}/${account}`;
    const why = `error looking up ${where}: serviceaccount "${account}" not found`;
    throw forbidden({ group: '', resource: 'pods', name }, why);
  };
}

/** What a scheduler says through `binding`: on which node a pod runs. @throws ApiError */
export function bindPod(
  store: ObjectStore,
  { namespace, name }: ResourceRequest,
  binding: JsonObject,
  timestamp: string,
): JsonObject {
  const named = { group: '', resource: 'pods', name };
  const node = textAt(binding, 'target', 'name') ?? '';
  if (node === '') throw badRequest('target.name: Required value');
  const pod = store.get('/pods', `${namespace}/${name}`)?.object;
  if (pod === undefined) throw notFound(named);
  const before = textAt(pod, 'spec', 'nodeName') ?? '';
  if (before !== '') throw conflict(named, `pod ${name} is already assigned to node "${before}"`);
  const spec = isObject(pod.spec) ? pod.spec : {};
  const status = isObject(pod.status) ? pod.status : {};
  const scheduled = {
    type: 'PodScheduled',
    status: 'True',
    lastProbeTime: null,
    lastTransitionTime: timestamp,
  };
  store.put('/pods', `${namespace}/${name}`, {
    ...pod,
    spec: { ...spec, nodeName: node },
    status: { ...status, conditions: [scheduled] },
  });
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 };
}
