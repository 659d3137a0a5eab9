import type { Admission, Attempt } from './admission.ts';
import { at, isEqual, textAt } from './json.ts';
import type { ObjectStore } from './object-store.ts';
import { forbidden } from './status.ts';
import { nodeOfKubelet } from './users.ts';

/** The admission plugin by which a kubelet changes its own Node only, and no taint or protected label of it. */
export function nodeRestriction(store: ObjectStore): Admission['admit'] {
  return (attempt) => {
    const node = nodeOfKubelet(attempt.user);
    if (node === null) return;
    const { group, plural } = attempt.type;
    if (group === '' && plural === 'nodes') checkNode(node, attempt);
    else if (group === '' && plural === 'pods') checkPod(node, attempt);
    else if (group === '' && plural === 'serviceaccounts') checkToken(node, attempt, store);
    else if (group === 'coordination.k8s.io' && plural === 'leases') checkLease(node, attempt);
  };
}

function checkNode(node: string, attempt: Attempt): void {
  const { name, object, old } = attempt;
  if (name !== node) refuse(attempt, `node "${node}" is not allowed to modify node "${name}"`);
  if (object === null) return;
  const changed = changedLabels(object.metadata.labels ?? {}, old?.metadata.labels ?? {}).filter(isProtected);
  if (old === null) {
    if (changed.length > 0)
      refuse(attempt, `node "${node}" is not allowed to set the following labels: ${changed.join(', ')}`);
    return;
  }
  if (!isEqual(at(object, 'spec', 'taints') ?? [], at(old, 'spec', 'taints') ?? [])) {
    refuse(attempt, `node "${node}" is not allowed to modify taints`);
  }
  if (changed.length > 0) refuse(attempt, `is not allowed to modify labels: ${changed.join(', ')}`);
}

function checkPod(node: string, attempt: Attempt): void {
  const { operation, subresource, object, old } = attempt;
  if (subresource === 'status') {
    if (textAt(old ?? undefined, 'spec', 'nodeName') === node) return;
    refuse(attempt, `node "${node}" can only update pod status for pods with spec.nodeName set to itself`);
  }
  if (operation === 'DELETE') {
    if (textAt(old ?? undefined, 'spec', 'nodeName') === node) return;
    refuse(attempt, `node "${node}" can only delete pods with spec.nodeName set to itself`);
  }
  const mirror = 'kubernetes.io/config.mirror';
  if (operation !== 'CREATE') refuse(attempt, `node "${node}" can only create and delete mirror pods`);
  if (object?.metadata.annotations?.[mirror] === undefined) {
    refuse(attempt, `pod does not have "${mirror}" annotation, node "${node}" can only create mirror pods`);
  }
  if (textAt(object ?? undefined, 'spec', 'nodeName') !== node) {
    refuse(attempt, `node "${node}" can only create pods with spec.nodeName set to itself`);
  }
}

/** A token that a kubelet asks for is bound to a pod that runs on it. */
function checkToken(node: string, attempt: Attempt, store: ObjectStore): void {
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
