import type { Admission, Attempt } from './admission.ts';
import type { Authorizer } from './authorizer.ts';
import { at, isEqual, type KubeObject, listAt, textAt, textsAt } from './json.ts';
import type { ObjectStore } from './object-store.ts';
import { mirrorAnnotation } from './pod-rules.ts';
import { forbidden } from './status.ts';
import { nodeOfKubelet } from './users.ts';

/** The admission plugin by which a kubelet changes its own Node only, and no taint or protected label of it. */
export function nodeRestriction(store: ObjectStore, authorizer: Authorizer): Admission['admit'] {
  return (attempt) => {
    const node = nodeOfKubelet(attempt.user);
    if (node === null) return;
    const { group, plural } = attempt.type;
    if (group === '' && plural === 'nodes') checkNode(node, attempt);
    else if (group === '' && plural === 'pods') checkPod(node, attempt, store);
    else if (group === '' && plural === 'serviceaccounts') checkToken(node, attempt, store, authorizer);
    else if (group === 'coordination.k8s.io' && plural === 'leases') checkLease(node, attempt);
  };
}

function checkNode(node: string, attempt: Attempt): void {
  const { name, object, old } = attempt;
  if (name !== node) refuse(attempt, `node "${node}" is not allowed to modify node "${name}"`);
  if (object === null) return;
  if (at(object, 'spec', 'configSource') != null) {
    refuse(attempt, `node "${node}" is not allowed to create pods with a non-nil configSource`);
  }
  const changed = changedLabels(object.metadata.labels ?? {}, old?.metadata.labels ?? {}).filter(isProtected);
  if (old === null) {
    if (changed.length > 0)
      refuse(attempt, `node "${node}" is not allowed to set the following labels: ${changed.join(', ')}`);
    return;
  }
  if (!isEqual(at(object, 'spec', 'taints') ?? [], at(old, 'spec', 'taints') ?? [])) {
    refuse(attempt, `node "${node}" is not allowed to modify taints`);
  }
  if (!isEqual(object.metadata.ownerReferences ?? [], old.metadata.ownerReferences ?? [])) {
    refuse(attempt, `node "${node}" is not allowed to modify ownerReferences`);
  }
  if (changed.length > 0) refuse(attempt, `is not allowed to modify labels: ${changed.join(', ')}`);
}

function checkPod(node: string, attempt: Attempt, store: ObjectStore): void {
  const { operation, subresource, object, old } = attempt;
  if (subresource === 'status') {
    if (textAt(old ?? undefined, 'spec', 'nodeName') === node) return;
    refuse(attempt, `node "${node}" can only update pod status for pods with spec.nodeName set to itself`);
  }
  if (operation === 'DELETE') {
    if (textAt(old ?? undefined, 'spec', 'nodeName') === node) return;
    refuse(attempt, `node "${node}" can only delete pods with spec.nodeName set to itself`);
  }
  if (operation !== 'CREATE') refuse(attempt, `node "${node}" can only create and delete mirror pods`);
  if (object?.metadata.annotations?.[mirrorAnnotation] === undefined) {
    const why = `pod does not have "${mirrorAnnotation}" annotation`;
    refuse(attempt, `${why}, node "${node}" can only create mirror pods`);
  }
  if (textAt(object, 'spec', 'nodeName') !== node) {
    refuse(attempt, `node "${node}" can only create pods with spec.nodeName set to itself`);
  }
  const [owner, ...others] = object.metadata.ownerReferences ?? [];
  const isOwner = owner?.kind === 'Node' && owner.apiVersion === 'v1' && owner.name === node;
  if (!isOwner || others.length > 0 || owner.controller !== true || owner.blockOwnerDeletion === true) {
    refuse(attempt, `node "${node}" can only create pods with an owner reference set to itself`);
  }
  if (store.get('/nodes', node)?.object.metadata.uid !== owner.uid) {
    refuse(attempt, `node "${node}" can only create pods with an owner reference of its own UID`);
  }
  if ((textAt(object, 'spec', 'serviceAccountName') ?? '') !== '') {
    refuse(attempt, `node "${node}" can not create pods that reference a service account`);
  }
}

/** A token that a kubelet asks for is bound to a pod that runs on it. */
function checkToken(node: string, attempt: Attempt, store: ObjectStore, authorizer: Authorizer): void {
  const { operation, subresource, object, namespace } = attempt;
  if (operation !== 'CREATE' || subresource !== 'token') return;
  const [kind, name = '', uid] = ['kind', 'name', 'uid'].map((member) =>
    textAt(object ?? undefined, 'spec', 'boundObjectRef', member),
  );
  if (kind !== 'Pod' || name === '') refuse(attempt, 'node requested token not bound to a pod');
  if (!uid) refuse(attempt, 'node requested token with a pod binding without a uid');
  const pod = store.get('/pods', `${namespace}/${name}`)?.object;
  if (pod === undefined || pod.metadata.uid !== uid) {
    refuse(attempt, `the UID in the bound object reference (${uid}) does not match the UID in record`);
  }
  if (textAt(pod, 'spec', 'nodeName') !== node) {
    refuse(attempt, 'node requested token bound to a pod scheduled on a different node');
  }
  const account = store.get('/serviceaccounts', `${namespace}/${attempt.name}`)?.object;
  const its = audiencesOf(pod, account);
  const wanted = textsAt(object ?? undefined, 'spec', 'audiences');
  for (const audience of wanted.length === 0 ? [''] : wanted) {
    const action = { verb: 'request-serviceaccounts-token-audience', group: '', resource: audience };
    const place = { subresource: '', namespace, name: attempt.name };
    if (its.has(audience) || authorizer.authorize(attempt.user, { ...action, ...place }).allowed) continue;
    const who = `${attempt.user.name} is not authorized to request tokens for this audience`;
    refuse(attempt, `audience "${audience}" not found in pod spec volume, ${who}`);
  }
}

/** For whom the volumes of a pod want tokens. The empty one is the API itself, which a pod talks to by default. */
function audiencesOf(pod: KubeObject, account: KubeObject | undefined): ReadonlySet<string> {
  const named = listAt(pod, 'spec', 'volumes')
    .flatMap((volume) => listAt(volume, 'projected', 'sources'))
    .filter((source) => at(source, 'serviceAccountToken') !== undefined)
    .map((source) => textAt(source, 'serviceAccountToken', 'audience') ?? '');
  const isMounted =
    at(pod, 'spec', 'automountServiceAccountToken') ?? account?.automountServiceAccountToken ?? true;
  return new Set([...named, ...(isMounted === false ? [] : [''])]);
}

function checkLease(node: string, attempt: Attempt): void {
  if (attempt.namespace !== 'kube-node-lease') {
    refuse(attempt, 'can only access leases in the "kube-node-lease" system namespace');
  }
  if (attempt.name !== node) {
    refuse(attempt, 'can only access node lease with the same name as the requesting node');
  }
}

type Labels = Readonly<Record<string, string>>;

function changedLabels(labels: Labels, before: Labels): readonly string[] {
  const keys = new Set([...Object.keys(labels), ...Object.keys(before)]);
  return [...keys].filter((key) => labels[key] !== before[key]).sort();
}

/** Of Kubernetes itself, or of node restriction; those that a kubelet sets of itself are its own. */
function isProtected(label: string): boolean {
  const [prefix = '', name] = label.split('/');
  if (name === undefined) return false;
  const isBelow = (domain: string) => prefix === domain || prefix.endsWith(`.${domain}`);
  if (isBelow('node-restriction.kubernetes.io')) return true;
  if (!isBelow('kubernetes.io') && !isBelow('k8s.io')) return false;
  return !kubeletLabels.has(label) && !isBelow('kubelet.kubernetes.io') && !isBelow('node.kubernetes.io');
}

const kubeletLabels: ReadonlySet<string> = new Set([
  ...['hostname', 'os', 'arch', 'instance-type'].flatMap((name) => [
    `kubernetes.io/${name}`,
    `beta.kubernetes.io/${name}`,
  ]),
  ...['topology.kubernetes.io/zone', 'topology.kubernetes.io/region'],
  ...['failure-domain.beta.kubernetes.io/zone', 'failure-domain.beta.kubernetes.io/region'],
]);

function refuse({ type, name }: Attempt, why: string): never {
  throw forbidden({ group: type.group, resource: type.plural, name }, why);
}
