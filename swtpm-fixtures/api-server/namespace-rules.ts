import { withoutEmptyLists } from './decode.ts';
import { type KubeObject, textsAt } from './json.ts';
import type { Strategy } from './resource-type.ts';

/** A namespace goes only once its `spec.finalizers` are empty, which is said through `finalize` alone. */
export const namespaceStrategy: Strategy = {
  prepareCreate(object) {
    const finalizers = textsAt(object, 'spec', 'finalizers');
    return named({
      ...object,
      spec: { finalizers: finalizers.includes('kubernetes') ? finalizers : [...finalizers, 'kubernetes'] },
      status: { phase: 'Active' },
    });
  },
  prepareUpdate(object, old, part) {
    const spec = part === 'finalize' ? withoutEmptyLists(object.spec ?? {}) : old.spec;
    const status = part === 'status' ? object.status : old.status;
    return named({ ...object, ...(spec !== undefined && { spec }), ...(status !== undefined && { status }) });
  },
  validate: () => [],
};

/** It has its own name as a label, whatever is said. */
function named(object: KubeObject): KubeObject {
  const { metadata } = object;
  const labels = { ...metadata.labels, 'kubernetes.io/metadata.name': metadata.name };
  return { ...object, metadata: { ...metadata, labels } };
}
