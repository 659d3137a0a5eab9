import type { Admission } from './admission.ts';
import type { ObjectStore } from './object-store.ts';
import { ApiError, forbidden, notFound } from './status.ts';

const kept: readonly string[] = ['default', 'kube-system', 'kube-public'];

/** The admission plugin NamespaceLifecycle: nothing is made where no namespace is, or where one goes. */
export function namespaceLifecycle(store: ObjectStore): Admission['admit'] {
  return ({ operation, type, namespace, name }) => {
    if (type.plural === 'namespaces' && operation === 'DELETE' && kept.includes(name)) {
      throw forbidden({ group: '', resource: 'namespaces', name }, 'this namespace may not be deleted');
    }
    if (operation !== 'CREATE' || !type.namespaced || namespace === '') return;
    const found = store.get('/namespaces', namespace)?.object;
    if (found === undefined) throw notFound({ group: '', resource: 'namespaces', name: namespace });
    if (found.metadata.deletionTimestamp === undefined) return;
    const { group, plural } = type;
    const why = `unable to create new content in namespace ${namespace} because it is being terminated`;
    const { code, reason, message, details } = forbidden({ group, resource: plural, name }, why);
    const causes = [
      {
        reason: 'NamespaceTerminating',
        message: `namespace ${namespace} is being terminated`,
        field: 'metadata.namespace',
      },
    ];
    throw new ApiError(code, reason, message, { ...details, causes });
  };
}
